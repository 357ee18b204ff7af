"""The floor of a sync run: the minimal program that fetches all offers and stores them once.

Threads fetch, COPY writes to a temporary table, one upsert stores. It fetches the same offers from the same service
with the same number of threads, and its table has the structure of `offers`, but it takes no leases, checks nothing,
survives no failure and keeps no history. It costs what `requests` and PostgreSQL cost. A sync run is measured in
multiples of it.
"""

import io
import itertools
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg2.extensions
import requests

# Limits memory. Larger chunks would not be faster.
_PRODUCTS_PER_CHUNK = 1000

_PREPARE = """
CREATE TABLE IF NOT EXISTS floor_offers (LIKE offers INCLUDING ALL);
INSERT INTO floor_offers SELECT * FROM offers ON CONFLICT DO NOTHING;
CREATE TEMPORARY TABLE fetched (product_id uuid, id uuid, price bigint, items_in_stock bigint) ON COMMIT DELETE ROWS
"""
_UPSERT = """
INSERT INTO floor_offers AS stored
    (product_id, id, source_id, price, items_in_stock, first_seen_at, changed_at, currency, condition, availability)
SELECT
    product_id, id, '00000000-0000-7000-8000-000000000001', price, items_in_stock, now(), now(), 'EUR', 'unknown',
    'in_stock'
FROM fetched
ON CONFLICT (product_id, id) DO UPDATE
SET price = excluded.price, items_in_stock = excluded.items_in_stock, changed_at = excluded.changed_at, closed_at = NULL
WHERE (stored.price, stored.items_in_stock) IS DISTINCT FROM (excluded.price, excluded.items_in_stock)
"""


class Floor:
    """The floor, on an open connection."""

    def __init__(self, connection: psycopg2.extensions.connection, base_url: str, workers: int) -> None:
        self._connection = connection
        self._base_url = base_url
        self._workers = workers
        with connection, connection.cursor() as cursor:
            cursor.execute(_PREPARE)

    def run(self, product_ids: Sequence[UUID]) -> None:
        """Fetch these products' offers and store them. The threads continue fetching while a chunk is stored."""
        local = threading.local()

        def open_session() -> None:
            local.session = requests.Session()
            # Otherwise each request looks for proxies and ~/.netrc, which takes a third of the time.
            local.session.trust_env = False

        with ThreadPoolExecutor(self._workers, initializer=open_session) as pool:

            def fetch(product_id: UUID) -> tuple[UUID, Any]:
                url = f"{self._base_url}/products/{product_id}/offers"
                return product_id, local.session.get(url, headers={"Bearer": "benchmark"}).json()

            fetched = pool.map(fetch, product_ids)
            while chunk := list(itertools.islice(fetched, _PRODUCTS_PER_CHUNK)):
                self._store(chunk)

    def _store(self, chunk: Iterable[tuple[UUID, Any]]) -> None:
        rows = "".join(
            f"{product_id}\t{offer['id']}\t{offer['price']}\t{offer['items_in_stock']}\n"
            for product_id, offers in chunk
            for offer in offers
        )
        with self._connection, self._connection.cursor() as cursor:
            cursor.copy_expert("COPY fetched FROM STDIN", io.StringIO(rows))
            cursor.execute(_UPSERT)
