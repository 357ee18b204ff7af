"""What compaction keeps, in bytes, beside what it replaces: `python -m benchmarks.history_size`, in half a minute.

A month of steps at several rates of change, each in a database of its own: tables and indexes, after VACUUM, before a
compaction and after it. `--strict` ends with exit code 1 if more bytes are kept than there were; `--quick` takes fewer
products, to see that it works.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from benchmarks import harness
from benchmarks.harness import Targets, say, timed
from productagg.catalog import products as catalog
from productagg.db.engines import reader_engine, writer_engine
from productagg.db.models import OFFERS_SOURCE, OfferPrice, ProductPrice
from productagg.history import partitions
from productagg.history.compaction import Compaction, CompactionResult
from productagg.settings import database_url

OFFERS = 4
DAYS = 30
MONTH = datetime(2026, 1, 1, tzinfo=UTC)
# The month is over age then; all that happened in it was observed.
NOW = MONTH + timedelta(days=100)
# Changes a day, and of how many products: about as many steps each time.
RATES = {1: 400, 9: 60, 60: 10, 1440: 1}
_TABLES = ("product_prices", "offer_prices", "product_price_days", "offer_price_days")

# As a sync writes them: in the order of time, all products among each other. Every step changes all offers.
_STEPS = f"""
WITH steps AS MATERIALIZED (
    SELECT id AS product_id, at, 400000 + (random() * 20000)::bigint AS price, 100 + (random() * 900)::bigint AS spread,
        1 + (random() * 50)::bigint AS items
    FROM products CROSS JOIN LATERAL (
        SELECT :month + (slot + random()) * interval '1 day' / :rate AS at
        FROM generate_series(0, :rate * {DAYS} - 1) AS slot WHERE id IS NOT NULL
    ) AS times
    ORDER BY at
), of_products AS (
    INSERT INTO product_prices (product_id, observed_at, lowest, average, offers, items_in_stock, observed)
    SELECT product_id, at, price, price + spread, {OFFERS}, {OFFERS} * items, true FROM steps
)
INSERT INTO offer_prices (product_id, offer_id, observed_at, price, items_in_stock)
SELECT steps.product_id, offers.id, at, steps.price + number * spread, items
FROM steps JOIN (
    SELECT product_id, id, row_number() OVER (PARTITION BY product_id ORDER BY id) - 1 AS number FROM offers
) AS offers ON offers.product_id = steps.product_id
ORDER BY at
"""


@dataclass(frozen=True)
class Sizes:
    """Bytes before and after, and what the compaction did, in so many seconds."""

    replaced: int
    kept: int
    result: CompactionResult
    seconds: float


def measure(url: str, rate: int, products: int) -> Sizes:
    """Fill a migrated, empty database with a month of steps, and compact it."""
    writer, reader = writer_engine(database_url(url)), reader_engine(database_url(url))
    sessions = sessionmaker(writer)
    try:
        partitions.prepare(sessions, MONTH)
        with sessions.begin() as session:
            _fill(session, rate, products)
        replaced = _bytes(writer)
        with reader.connect() as connection:
            run = Compaction(connection, sessions, 31, timedelta(days=1), NOW, closed_days=366)
            seconds = timed(run.run)
        if any(_count(sessions, model) for model in (ProductPrice, OfferPrice)):
            raise RuntimeError("the compaction left steps")
        return Sizes(replaced, _bytes(writer), run.result, seconds)
    finally:
        writer.dispose()
        reader.dispose()


def _fill(session: Session, rate: int, products: int) -> None:
    for number in range(products):
        catalog.create(session, f"Product {number}", "A product.", MONTH)
    session.flush()
    session.execute(
        text(
            "INSERT INTO offers (product_id, id, source_id, price, items_in_stock, first_seen_at, changed_at, currency,"
            " condition, availability)"
            " SELECT products.id, gen_random_uuid(), CAST(:source AS uuid), 1, 1, :month, :month, 'EUR', 'unknown',"
            " 'in_stock'"
            f" FROM products CROSS JOIN generate_series(1, {OFFERS})"
        ),
        {"month": MONTH, "source": str(OFFERS_SOURCE)},
    )
    session.execute(text(_STEPS), {"month": MONTH, "rate": rate})
    session.execute(text("UPDATE product_sources SET last_synced_at = :now"), {"now": NOW})


def _bytes(engine: Engine) -> int:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"VACUUM {', '.join(_TABLES)}"))
        sizes = (
            "SELECT sum(pg_total_relation_size(relid)) FROM (SELECT inhrelid AS relid FROM pg_inherits"
            " WHERE inhparent = to_regclass(:table) UNION ALL SELECT to_regclass(:table)) AS relations"
        )
        return sum(int(connection.scalar(text(sizes), {"table": table})) for table in _TABLES)


def _count(sessions: sessionmaker[Session], model: type[ProductPrice | OfferPrice]) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history_size", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="few products, to see that it works")
    options = parser.parse_args()
    targets = Targets()
    with harness.postgresql() as server:
        print(harness.machine(server))
        for rate, products in RATES.items():
            say(f"{rate} changes a day")
            with harness.database(server, "history_size") as url:
                sizes = measure(url, rate, max(1, products // 20) if options.quick else products)
            result, ratio = sizes.result, sizes.kept / sizes.replaced
            print(
                f"{rate} changes a day: {result.steps:,} steps became {result.rows:,} rows at"
                f" {result.steps / sizes.seconds:,.0f} steps a second;"
                f" {sizes.replaced:,} bytes became {sizes.kept:,}, ratio {ratio:.3f}"
            )
            targets.at_most(f"history-size-{rate}-a-day", ratio, 1.0)
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
