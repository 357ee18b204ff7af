"""What syncing a whole feed costs, beside its floor: `python -m benchmarks.feed_sync`, in about 30 minutes.

A Merchant XML with a million items, of which 100,000 are of our products; between two syncs, a tenth of these change
their price. A sync reads it with the adapter and writes it with the engine, from a file instead of a connection. The
floor is the same XML parser with handlers that do nothing, then COPY of each 1,000 items into a temporary table and one
upsert from there: no adapter, no history, no closing, no failures. Both are measured in turn, by the clock, with
PostgreSQL's work. `--strict` ends with exit code 1 if a target is missed; `--quick` only shows that it works.
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import UUID

import psycopg2.extensions
from sqlalchemy import false, select, true
from sqlalchemy.orm import Session, sessionmaker

from benchmarks import harness
from benchmarks.catalogue import Catalogue
from benchmarks.feed import FileResponse, parse, write_feed
from benchmarks.harness import Targets, fresh_process, in_turn, peak_memory, say, timed
from benchmarks.upstream import Upstream
from productagg.db import clock
from productagg.db.engines import writer_engine
from productagg.db.models import Source
from productagg.settings import database_url
from productagg.sources.feed.adapter import FeedAdapter
from productagg.sources.registry import validate
from productagg.sources.testing import MemoryWeb
from productagg.sync.documents import DocumentLane
from productagg.sync.lane import Selection
from productagg.sync.run_log import RunResult
from productagg.sync.schedule import Schedule
from productagg.sync.sources import enabled
from productagg.sync.time_budget import TimeBudget
from productagg.sync.transactions import run_in_transaction

_URL = "https://shop.example/feed.xml"
_SOURCE = UUID("00000000-0000-7000-8000-0000000000ff")
_ITEMS_PER_PRODUCT = 10
_AT_ONCE = 1000
_DAY = timedelta(days=1)
_LINK = """
INSERT INTO sources (id, kind, name, configuration, enabled, failures, version, created_at, updated_at)
VALUES (%(source)s, 'feed', 'Northpath', %(configuration)s, true, 0, 1, now(), now());
INSERT INTO product_sources (product_id, source_id, locator, failures)
SELECT id, %(source)s, 'NP-' || lpad(((row_number() OVER (ORDER BY id) - 1) * %(step)s)::text, 7, '0'), 0 FROM products
"""
_MAKE_DUE = "UPDATE sources SET next_sync_at = now(), leased_until = NULL, validators = NULL WHERE id = %s"
_PREPARE_FLOOR = """
CREATE TABLE floor_offers (LIKE offers INCLUDING ALL);
CREATE TEMPORARY TABLE fetched (locator text, id uuid, price bigint) ON COMMIT DELETE ROWS
"""
_UPSERT = """
INSERT INTO floor_offers AS stored
    (product_id, id, source_id, price, first_seen_at, changed_at, currency, condition, availability)
SELECT product_id, id, source_id, price, now(), now(), 'EUR', 'new', 'in_stock'
FROM fetched JOIN product_sources USING (locator) WHERE source_id = %s
ON CONFLICT (product_id, id) DO UPDATE SET price = excluded.price, changed_at = excluded.changed_at, closed_at = NULL
WHERE stored.price IS DISTINCT FROM excluded.price
"""

Result = TypeVar("Result")


class Feed:
    """The same feed twice, with other prices of each hundredth item, and the floor's rows for it."""

    def __init__(self, folder: Path, items: int) -> None:
        self.items = items
        self.paths = [folder / "first.xml", folder / "second.xml"]
        for raised, path in enumerate(self.paths):
            write_feed(path, items, raised=raised)

    def rows(self, raised: int, start: int) -> str:
        """A chunk of the floor's rows, for COPY."""
        return "".join(
            f"NP-{number:07d}\t{UUID(int=number)}\t{2000 + number + (100 * raised if number % 100 == 0 else 0)}\n"
            for number in range(start, min(start + _AT_ONCE, self.items))
        )


def floor(connection: psycopg2.extensions.connection, path: Path, chunks: list[str]) -> None:
    """Parse the feed, and store rows as if they came from it."""
    parse(path)
    for chunk in chunks:
        with connection, connection.cursor() as cursor:
            cursor.copy_expert("COPY fetched FROM STDIN", io.StringIO(chunk))
            cursor.execute(_UPSERT, [str(_SOURCE)])


def sync(sessions: sessionmaker[Session], path: Path) -> RunResult:
    """Sync the whole document, as a run does. Raises RuntimeError if that fails."""
    with sessions.begin() as session:
        now = clock.now(session)
        (source,) = [found for found in enabled(session, false(), true(), now) if found.id == _SOURCE]
    adapter = FeedAdapter()
    result = RunResult(started_at=now, finished_at=now)

    def in_transaction(work: Callable[[Session], Result], budget: TimeBudget | None = None) -> Result:
        return run_in_transaction(sessions, work, budget)

    lane = DocumentLane(
        source,
        adapter,
        validate(adapter, dict(source.configuration)),
        lambda _: MemoryWeb({_URL: FileResponse(path)}),
        Schedule(_DAY, _DAY),
        3 * _DAY,
        in_transaction,
        lambda: False,
        result,
        quarantine_factor=10,
    )
    lane.work(Selection(lambda _: false(), lambda _: true()), TimeBudget(3600, lambda: False), lambda: None)
    if result.fetched != 1:
        raise RuntimeError(f"the feed was not synced: {result}")
    return result


def memory(url: str, path: Path) -> float:
    """The peak memory, in MB, of a process that syncs the feed. Call it in a process of its own."""
    with _sessions(url) as sessions:
        sync(sessions, path)
    return peak_memory()


@contextmanager
def _sessions(url: str) -> Iterator[sessionmaker[Session]]:
    engine = writer_engine(database_url(url))
    try:
        yield sessionmaker(engine)
    finally:
        engine.dispose()


def _measure(url: str, catalogue: Catalogue, feed: Feed, rounds: int, targets: Targets) -> None:
    prepared = [[feed.rows(raised, start) for start in range(0, feed.items, _AT_ONCE)] for raised in (0, 1)]
    turns = cycle((0, 1))
    turn = 0

    def next_turn() -> None:
        nonlocal turn
        turn = next(turns)
        catalogue.execute(_MAKE_DUE, str(_SOURCE))
        catalogue.vacuum("offers", "product_sources", "sources")

    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(_PREPARE_FLOOR)
    with _sessions(url) as sessions:
        pairs = in_turn(
            rounds,
            lambda: timed(partial(sync, sessions, feed.paths[turn])),
            lambda: timed(partial(floor, connection, feed.paths[turn], prepared[turn])),
            before=next_turn,
        )
        with sessions() as session:
            counts = session.execute(
                select(Source.item_count, Source.unmatched_count).where(Source.id == _SOURCE)
            ).one()
    connection.close()
    next_turn()
    with fresh_process() as pool:
        peak = pool.submit(memory, url, feed.paths[turn]).result()
    per_item = pairs.first.median / feed.items * 1e6
    print(f"{counts[0]} items, {counts[1]} of no product: sync {pairs.first} s, {per_item:.3g} µs an item")
    print(f"floor {pairs.second} s; by the floor {pairs.ratio()}; peak memory {peak:.3g} MB")
    targets.at_most("feed-sync", pairs.ratio().median, 1.5)
    targets.at_most("feed-sync-memory", peak, 120)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed_sync", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="few items; the figures mean nothing")
    parser.add_argument("--items", type=int, default=1_000_000, help="a million by default")
    options = parser.parse_args()
    items, rounds = (2_000, 1) if options.quick else (options.items, 3)
    targets = Targets()
    with (
        harness.postgresql() as server,
        harness.database(server, "feed_sync") as url,
        Upstream() as upstream,
        TemporaryDirectory() as folder,
    ):
        print(harness.machine(server))
        catalogue = Catalogue(url, upstream, items // _ITEMS_PER_PRODUCT)
        values = {"source": str(_SOURCE), "configuration": f'{{"url": "{_URL}"}}', "step": _ITEMS_PER_PRODUCT}
        with catalogue.connection.cursor() as cursor:
            cursor.execute(_LINK, values)
        say(f"writing two feeds of {items} items")
        _measure(url, catalogue, Feed(Path(folder), items), rounds, targets)
        catalogue.close()
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
