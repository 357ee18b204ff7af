"""A database with registered products and the offers that the benchmarks' Offers service has for them.

The benchmarks make products due and start sync runs, in this process or in others.
"""

import io
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg2.extensions
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker
from uuid_utils.compat import uuid7

from benchmarks.harness import Recorder, peak_memory, run_command, start_command, timed
from benchmarks.upstream import ITEMS_IN_STOCK, Upstream, prices
from productagg.catalog.search_text import search_text
from productagg.db.engines import writer_engine
from productagg.db.models import OFFERS_SOURCE
from productagg.settings import Settings, database_url
from productagg.sync.run import Synchronizer

WORKERS = 8

_COPIED_AT_ONCE = 50_000
# All rows are derived from products, so foreign keys need no check.
_FILL = """
SET LOCAL session_replication_role = replica;
SET LOCAL work_mem = '128MB';

INSERT INTO product_sources (product_id, source_id, registration, registered_at, next_sync_at, last_synced_at, failures)
SELECT id, %(source)s::uuid, 'registered', created_at, now() + interval '1 day', created_at, 0 FROM products;

INSERT INTO offers
    (product_id, id, source_id, price, items_in_stock, first_seen_at, changed_at, currency, condition, availability)
SELECT
    products.id, (left(products.id::text, 34) || lpad(to_hex(number - 1), 2, '0'))::uuid, %(source)s::uuid,
    price, %(stock)s, now(), now(), 'EUR', 'unknown', 'in_stock'
FROM products CROSS JOIN unnest(%(prices)s::bigint[]) WITH ORDINALITY AS prices (price, number);

INSERT INTO offer_prices (product_id, offer_id, observed_at, price, items_in_stock)
SELECT product_id, id, first_seen_at, price, items_in_stock FROM offers;

INSERT INTO product_prices (product_id, observed_at, observed, lowest, average, offers, items_in_stock)
SELECT product_id, min(first_seen_at), true, min(price), round(avg(price)), count(*), sum(items_in_stock)
FROM offers GROUP BY product_id;

INSERT INTO product_summaries (product_id, observed_at, lowest, average, offers, items_in_stock)
SELECT product_id, observed_at, lowest, average, offers, items_in_stock FROM product_prices
"""
_MAKE_DUE = """
UPDATE product_sources SET leased_until = NULL, next_sync_at = now() - random() * interval '1 minute'
WHERE product_id = ANY(%s::uuid[])
"""
_COUNT_UNFINISHED = (
    "SELECT count(*) FROM product_sources WHERE next_sync_at <= now() OR failures > 0 OR leased_until IS NOT NULL"
)


class Catalogue:
    """The catalogue. Its `connection`, in autocommit mode, is for statements that are not measured."""

    def __init__(self, url: str, upstream: Upstream, size: int) -> None:
        self.url = url
        self.base_url = upstream.base_url
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True
        self.product_ids = [uuid7() for _ in range(size)]
        with self.connection.cursor() as cursor:
            columns = "id, name, description, version, created_at, updated_at, search_text, sort_name"
            for start in range(0, size, _COPIED_AT_ONCE):
                rows = "".join(
                    f"{id_}\tProduct {id_}\tA product.\t1\tnow\tnow\t{search_text_of(id_)}\tproduct {id_}\n"
                    for id_ in self.product_ids[start : start + _COPIED_AT_ONCE]
                )
                cursor.copy_expert(f"COPY products ({columns}) FROM STDIN", io.StringIO(rows))
            cursor.execute(
                _FILL, {"source": str(OFFERS_SOURCE), "stock": ITEMS_IN_STOCK, "prices": prices(upstream.round)}
            )
        self.vacuum()

    def close(self) -> None:
        self.connection.close()

    def execute(self, sql: str, *parameters: object) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)

    def vacuum(self, *tables: str) -> None:
        """Vacuum now, instead of autovacuum at some later time."""
        self.execute(f"VACUUM ANALYZE {', '.join(tables)}")

    def query(self, sql: str, *parameters: object) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def make_due(self, count: int | None = None) -> None:
        """Make all products due, or a random sample of them, and remove the dead rows that this leaves."""
        self.make_these_due(self.product_ids if count is None else random.sample(self.product_ids, count))

    def make_these_due(self, product_ids: Sequence[UUID]) -> None:
        """Make these products due, and remove the dead rows that this leaves."""
        self.execute(_MAKE_DUE, [str(product_id) for product_id in product_ids])
        self.vacuum("product_sources", "offers")

    def check(self) -> None:
        """Raise RuntimeError if a due product was not synced."""
        ((unfinished,),) = self.query(_COUNT_UNFINISHED)
        if unfinished:
            raise RuntimeError(f"{unfinished} products were not synced")

    def run_command(self) -> None:
        """Run a sync as cron does."""
        run_command("productagg", "sync", "development.ini", environ=_environment(self.url, self.base_url))

    def start_command(self) -> "subprocess.Popen[bytes]":
        """Start a sync as cron does, without waiting for its end."""
        return start_command("productagg", "sync", "development.ini", environ=_environment(self.url, self.base_url))

    @contextmanager
    def synchronizer(self) -> Iterator[Synchronizer]:
        """A synchronizer in this process."""
        with _synchronizer(self.url, self.base_url) as (synchronizer, _):
            yield synchronizer

    @contextmanager
    def recorded_synchronizer(self, *, explain: bool = False) -> Iterator[tuple[Synchronizer, Recorder]]:
        """A synchronizer in this process, and a recorder of its transactions."""
        with _synchronizer(self.url, self.base_url) as (synchronizer, engine):
            yield synchronizer, Recorder(engine, explain="COSTS OFF" if explain else "")


def search_text_of(id_: UUID) -> str:
    """Return the search text of a product, escaped for COPY."""
    return search_text(f"Product {id_}", "A product.").replace("\n", "\\n")


def _environment(url: str, base_url: str) -> dict[str, str]:
    """The options of all measured sync runs."""
    return {
        "PRODUCTAGG_MODE": "development",
        "DATABASE_URL": url,
        "OFFERS_BASE_URL": base_url,
        "OFFERS_REFRESH_TOKEN": "benchmark",
        "JWT_SECRET": "a secret of the benchmarks, long enough for HS256",
        "SYNC_WORKERS": str(WORKERS),
        # No product is due a second time, and no run ends early.
        "SYNC_INTERVAL_SECONDS": "86400",
        "SYNC_BUDGET_SECONDS": "3600",
    }


@contextmanager
def _synchronizer(url: str, base_url: str) -> Iterator[tuple[Synchronizer, Engine]]:
    settings = Settings.load({}, _environment(url, base_url))
    engine = writer_engine(database_url(url))
    try:
        with Synchronizer(settings, sessionmaker(engine)) as synchronizer:
            yield synchronizer, engine
    finally:
        engine.dispose()


def run_sync(url: str, base_url: str) -> tuple[float, float]:
    """Run a sync, for a process of its own. Return its seconds and the process's peak memory in MB."""
    with _synchronizer(url, base_url) as (synchronizer, _):
        return timed(synchronizer.run), peak_memory()
