"""A database full of history: products, their raw prices in monthly partitions, years of compacted days for some.

PostgreSQL makes the rows itself: every product changes a few times a day, its price walks at random, at times it is
sold out or not observed. Rows lie in the tables as a sync writes them, in order of time, all products among each other.
"""

import io
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg2.extensions
from uuid_utils.compat import uuid7

from benchmarks.catalogue import search_text_of
from benchmarks.harness import say
from productagg.db.models import OFFERS_SOURCE
from productagg.history.day_summaries import compact_product
from productagg.history.timeline import ProductStep, moment

OFFERS_PER_PRODUCT = 4
RAW_DAYS = 90
_ONE_DAY = timedelta(days=1)
_FOUR_WEEKS = timedelta(weeks=4)
# Enough for the five years, and for what was in force before them.
_COMPACTED_DAYS = 265 * 7
_LOADERS = 2

_SCRATCH = """
CREATE UNLOGGED TABLE bench_products (number int, product_id uuid, offer_ids uuid[], first_level bigint, spread bigint);
CREATE UNLOGGED TABLE bench_levels (day timestamptz, number int, level bigint);
CREATE UNLOGGED TABLE bench_steps (LIKE product_prices);
"""
_PRODUCTS = """
INSERT INTO bench_products
SELECT
    row_number() OVER (ORDER BY random()), id,
    ARRAY(SELECT (left(id::text, 34) || lpad(to_hex(each), 2, '0'))::uuid FROM generate_series(1, %(offers)s) AS each),
    5000 + random() * 1000000, 10 + random() * 500
FROM products;
ANALYZE bench_products;

INSERT INTO bench_levels
SELECT day, number, greatest(1000, first_level + sum(step) OVER (PARTITION BY number ORDER BY day))
FROM (
    SELECT day, number, first_level, (random() - 0.5) * first_level / 50 AS step
    FROM bench_products CROSS JOIN generate_series(%(oldest)s::timestamptz, %(now)s, interval '1 day') AS day
    WHERE day >= %(raw_from)s OR number <= %(measured)s
) AS days;
CREATE INDEX ON bench_levels (day);
ANALYZE bench_levels;
"""
# Some days' steps. Two sold-out steps, or two gaps, never follow each other: nothing would have changed.
_STEPS = """
SELECT
    product_id, offer_ids, spread, at, price, NOT is_gap AS observed,
    CASE WHEN in_stock THEN price END AS lowest,
    CASE WHEN in_stock THEN price + spread * (%(offers)s - 1) END AS average,
    CASE WHEN in_stock THEN %(offers)s ELSE 0 END AS offers, CASE WHEN in_stock THEN items ELSE 0 END AS items
FROM (
    SELECT
        *, slot %% 4 = 1 AND chance < 0.02 AS is_gap,
        NOT (slot %% 4 = 1 AND chance < 0.02 OR slot %% 4 = 3 AND chance < 0.1) AS in_stock
    FROM (
        SELECT
            product_id, offer_ids, spread, slot, random() AS chance, 1 + (random() * 50)::bigint AS items,
            day + (slot + random()) * interval '1 day' / %(slots)s AS at,
            (level * (0.99 + random() * 0.02))::bigint AS price
        FROM bench_levels JOIN bench_products USING (number) CROSS JOIN generate_series(0, %(slots)s - 1) AS slot
        WHERE day >= %(begin)s AND day < %(end)s
    ) AS drawn
    WHERE at < %(now)s
) AS steps
ORDER BY at
"""
_LOAD = f"""
WITH steps AS MATERIALIZED ({_STEPS}),
of_products AS (
    INSERT INTO product_prices (product_id, observed_at, lowest, average, offers, items_in_stock, observed)
    SELECT product_id, at, lowest, average, offers, offers * items, observed FROM steps
    RETURNING 1
),
of_offers AS (
    INSERT INTO offer_prices (product_id, offer_id, observed_at, price, items_in_stock)
    SELECT product_id, offer_ids[number], at, price + 2 * (number - 1) * spread, items
    FROM steps CROSS JOIN generate_series(1, %(offers)s) AS number
    WHERE observed
    RETURNING 1
)
SELECT (SELECT count(*) FROM of_products), (SELECT count(*) FROM of_offers)
"""
_LOAD_OLD = f"""
INSERT INTO bench_steps (product_id, observed_at, lowest, average, offers, items_in_stock, observed)
SELECT product_id, at, lowest, average, offers, offers * items, observed FROM ({_STEPS}) AS steps
"""
# The offers as the last step left them, what is scheduled, and what the sync knows of each product's newest price.
_PRESENT = """
INSERT INTO product_sources (product_id, source_id, registration, registered_at, next_sync_at, last_synced_at, failures)
SELECT id, %(source)s::uuid, 'registered', created_at, now() + interval '1 year', %(now)s, 0 FROM products;

INSERT INTO offers
    (product_id, id, source_id, price, items_in_stock, first_seen_at, changed_at, closed_at, currency, condition,
    availability)
SELECT DISTINCT ON (product_id, offer_id)
    product_id, offer_id, %(source)s::uuid, price, items_in_stock, observed_at, observed_at,
    CASE WHEN items_in_stock = 0 THEN observed_at END, 'EUR', 'unknown',
    CASE WHEN items_in_stock = 0 THEN 'out_of_stock' ELSE 'in_stock' END
FROM offer_prices
WHERE observed_at > %(now)s - interval '4 days'
ORDER BY product_id, offer_id, observed_at DESC;

INSERT INTO product_summaries
SELECT
    newest.product_id, newest.observed_at, newest.lowest, newest.average, newest.offers, newest.items_in_stock, %(now)s,
    before_24h.lowest, before_7d.lowest, before_30d.lowest, %(now)s + interval '1 hour'
FROM (
    SELECT DISTINCT ON (product_id) * FROM product_prices
    WHERE observed AND observed_at > %(now)s - interval '4 days'
    ORDER BY product_id, observed_at DESC
) AS newest
""" + "".join(
    f"""
    LEFT JOIN LATERAL (
        SELECT lowest FROM product_prices
        WHERE product_id = newest.product_id AND observed_at <= %(now)s - interval '{length}'
        AND observed_at > %(now)s - interval '{length}' - interval '4 days'
        ORDER BY observed_at DESC LIMIT 1
    ) AS before_{name} ON true
    """
    for name, length in (("24h", "1 day"), ("7d", "7 days"), ("30d", "30 days"))
)
_KEYS = {"offer_prices": "product_id, offer_id, observed_at", "product_prices": "product_id, observed_at"}
_STEPS_OF = """
SELECT product_id, json_agg(json_build_array(
    (extract(epoch FROM observed_at) * 1000000)::bigint, lowest, average, offers, items_in_stock, observed
) ORDER BY observed_at)::text
FROM bench_steps
WHERE product_id = ANY(%s::uuid[]) AND observed_at >= %s AND observed_at < %s
GROUP BY product_id
"""
_DAYS = ("product_id", "observed_at", "lowest", "average", "offers", "items_in_stock", "observed", "summary")


@dataclass(frozen=True)
class Size:
    """How much history. Loading raw rows ends after `seconds`, at a whole day; `measured` products get old days."""

    products: int
    raw_rows: int
    seconds: float
    measured: int


class History:
    """A migrated database at `url`, filled. The present of all that is measured is `now`.

    All products have raw rows from `raw_from` on, and those `measured` have compacted days before.
    """

    def __init__(self, url: str, size: Size) -> None:
        self.url = url
        self.now = datetime.now(UTC)
        self.rows: dict[str, int] = dict.fromkeys(_KEYS, 0)
        self._size = size
        today = _midnight(self.now)
        self.raw_from = _month(today - RAW_DAYS * _ONE_DAY)
        days = (today - self.raw_from).days + 1
        # At least four, or there were no sold-out times.
        slots = max(4, round(size.raw_rows / days / size.products / (1 + OFFERS_PER_PRODUCT)))
        self._oldest = today - timedelta(days=_COMPACTED_DAYS + today.weekday())
        self._parameters = {
            "source": str(OFFERS_SOURCE),
            "offers": OFFERS_PER_PRODUCT,
            "slots": slots,
            "now": self.now,
            "raw_from": self.raw_from,
            "oldest": self._oldest,
            "measured": size.measured,
        }
        self.connection = connect(url)
        start = time.monotonic()
        self._prepare()
        self._load(start + size.seconds)
        self._index()
        self.load_seconds = time.monotonic() - start
        self._compact()
        self._finish()

    def close(self) -> None:
        self.connection.close()

    @property
    def description(self) -> str:
        ((size,),) = self.query("SELECT pg_size_pretty(pg_database_size(current_database()))")
        rows = ", ".join(f"{count:,} in {table}" for table, count in self.rows.items())
        return (
            f"{self._size.products:,} products; {sum(self.rows.values()):,} raw rows ({rows}) of "
            f"{self.raw_from:%Y-%m-%d} to {self.now:%Y-%m-%d}, loaded and indexed in {self.load_seconds:.0f} s; "
            f"compacted days since {self._oldest:%Y-%m-%d} of {len(self.measured)} products only; "
            f"{size} in all"
        )

    def execute(self, sql: str, parameters: Any = None) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    def query(self, sql: str, parameters: Any = None) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def _prepare(self) -> None:
        say("products and partitions")
        created = self._oldest - _ONE_DAY
        ids = [uuid7() for _ in range(self._size.products)]
        rows = "".join(
            f"{id_}\tProduct {id_}\tA product.\t1\t{created}\t{created}\t{search_text_of(id_)}\tproduct {id_}\n"
            for id_ in ids
        )
        columns = "id, name, description, version, created_at, updated_at, search_text, sort_name"
        with self.connection.cursor() as cursor:
            cursor.copy_expert(f"COPY products ({columns}) FROM STDIN", io.StringIO(rows))
        for table in _KEYS:
            # One index build at the end is faster than 50 million insertions.
            self.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}")
            for begin, end in _months(self.raw_from, self.now):
                self.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}_{begin:%Y_%m} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{begin}') TO ('{end}')"
                )
        self.execute(_SCRATCH)
        self.execute(_PRODUCTS, self._parameters)
        measured = self.query("SELECT product_id FROM bench_products WHERE number <= %(measured)s", self._parameters)
        self.measured = [UUID(row[0]) for row in measured]

    def _load(self, deadline: float) -> None:
        """Raw rows of all products, the newest days first, and the measured products' steps before them."""
        day, today = self.raw_from, _midnight(self.now)
        days = [day + number * _ONE_DAY for number in range((today - day).days + 1)]
        local = threading.local()

        def open_connection() -> None:
            local.connection = connect(self.url)

        def load(day: datetime) -> tuple[int, int] | None:
            # What is measured goes back 30 days.
            if time.monotonic() > deadline and day < today - 35 * _ONE_DAY:
                return None
            with local.connection.cursor() as cursor:
                cursor.execute(_LOAD, {**self._parameters, "begin": day, "end": day + _ONE_DAY})
                products, offers = cursor.fetchone()
                return products, offers

        with ThreadPoolExecutor(_LOADERS, initializer=open_connection) as pool:
            for day, loaded in zip(reversed(days), pool.map(load, reversed(days)), strict=True):
                if loaded is None:
                    break
                self.raw_from = day
                for table, count in zip(("product_prices", "offer_prices"), loaded, strict=True):
                    self.rows[table] += count
                say(f"  {day:%Y-%m-%d}: {sum(self.rows.values()):,} raw rows")

    def _index(self) -> None:
        say("keys of the raw tables")
        for table, key in _KEYS.items():
            self.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({key})")

    def _compact(self) -> None:
        """As compaction would have left it, month by month: some weeks of all products at a time."""
        say(f"compacted days of {len(self.measured)} products")
        begin = self._oldest
        before: dict[str, ProductStep] = {}
        while begin < self.raw_from:
            end = min(begin + _FOUR_WEEKS, self.raw_from)
            self.execute("TRUNCATE bench_steps")
            self.execute(_LOAD_OLD, {**self._parameters, "begin": begin, "end": end})
            self._compact_weeks(before, begin, end)
            begin = end

    def _compact_weeks(self, before: dict[str, ProductStep], begin: datetime, end: datetime) -> None:
        measured = [str(product_id) for product_id in self.measured]
        rows: list[tuple[object, ...]] = []
        for product_id, text in self.query(_STEPS_OF, (measured, begin, end)):
            steps = [ProductStep._make((*step, None)) for step in orjson.loads(text)]
            for at, *values, summary in compact_product(before.get(product_id), steps):
                rows.append((product_id, moment(at), *values, summary and orjson.dumps(summary).decode()))
            before[product_id] = steps[-1]
        _copy(self.connection, "product_price_days", _DAYS, rows)

    def _finish(self) -> None:
        say("summaries, vacuum, analyze")
        self.execute(_PRESENT, self._parameters)
        self.execute("UPDATE history_progress SET raw_from = %s", (self.raw_from,))
        self.execute("DROP TABLE bench_products, bench_levels, bench_steps")
        self.execute("VACUUM ANALYZE")
        self.execute("CHECKPOINT")


def connect(url: str) -> psycopg2.extensions.connection:
    """A connection whose statements are transactions of their own, set up to load much."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        # Without foreign keys' triggers: what is loaded refers to products by construction.
        cursor.execute("SET timezone = 'UTC'; SET session_replication_role = replica; SET work_mem = '256MB'")
        cursor.execute("SET maintenance_work_mem = '1GB'; SET synchronous_commit = off")
    return connection


def _copy(connection: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    lines = "".join("\t".join("\\N" if value is None else str(value) for value in row) + "\n" for row in rows)
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", io.StringIO(lines))


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def _month(time: datetime) -> datetime:
    return _midnight(time).replace(day=1)


def _months(first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The months from that of `first` to that of `last`."""
    begin = _month(first)
    while begin <= last:
        end = _month(begin + 31 * _ONE_DAY)
        yield begin, end
        begin = end
