"""The floor of the web service: the best that an implementation on waitress, psycopg2 and orjson can reach.

`python -m benchmarks.web_floor PORT`, with DATABASE_URL: a bare WSGI function, a pool of connections, hand-written SQL.
It neither validates nor logs, and a response has two headers. Lists, prices and trends have the same members as the
service's.
"""

import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import orjson
import psycopg2.extensions
from psycopg2.pool import ThreadedConnectionPool
from waitress import serve

from benchmarks.history_sql import HandWritten
from productagg.server.processes import pin_to_processor

THREADS = 8
_PRODUCT = """
SELECT id::text, name, description, gtin, brand, category, image_url, created_at, updated_at
FROM products WHERE id = %s
"""
_OFFERS = """
SELECT
    offers.id::text, sources.name AS source, external_id, seller, url, condition, price, currency,
    currency = (SELECT currency FROM catalogue) AS comparable, shipping, availability, items_in_stock, quarantined,
    first_seen_at, changed_at, closed_at
FROM offers JOIN sources ON sources.id = source_id
WHERE product_id = %s AND closed_at IS NULL ORDER BY price, offers.id
"""
_PAGE = """
SELECT
    products.id::text, name, description, gtin, brand, category, image_url, created_at, updated_at, registration,
    last_synced_at, last_changed_at, (SELECT currency FROM catalogue),
    lowest AS lowest_price, offers AS offer_count, items_in_stock, lowest_24h AS change_24h,
    lowest_24h AS change_24h_percent,
    (SELECT count(*) FROM (SELECT FROM products LIMIT 1001) AS counted),
    (SELECT coalesce(max(sequence), 0) FROM changes)
FROM products
LEFT JOIN product_sources
    ON product_sources.product_id = products.id AND source_id = '00000000-0000-7000-8000-000000000001'
JOIN product_summaries ON product_summaries.product_id = products.id
WHERE (created_at, products.id) > (%s, %s)
ORDER BY created_at, products.id
LIMIT %s
"""
_BEGINNING = ["-infinity", str(UUID(int=0))]
_WINDOW = timedelta(days=30)


class Floor:
    """The WSGI application. An observation is valid for `observed_for`."""

    def __init__(self, url: str, observed_for: timedelta) -> None:
        self._url = url
        self._pool = ThreadedConnectionPool(THREADS, THREADS, url, options="-c timezone=UTC")
        self._histories = [HandWritten(url, observed_for) for _ in range(THREADS)]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        _, _, id_, *rest = (environ["PATH_INFO"] + "/").split("/")[:4]
        if rest and rest[0]:
            document = self._history(rest[0], UUID(id_))
        else:
            connection = self._pool.getconn()
            connection.autocommit = True
            try:
                with connection.cursor() as cursor:
                    document = _product(cursor, id_) if id_ else _page(cursor, parse_qs(environ["QUERY_STRING"]))
            finally:
                self._pool.putconn(connection)
        body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _history(self, what: str, product_id: UUID) -> Any:
        now = datetime.now(UTC)
        history = self._histories.pop()
        try:
            if what == "trend":
                trend = history.trends()["json and a loop"](product_id, now - _WINDOW, now)
                return {"product_id": product_id, **vars(trend)}
            points = history.prices()["json"](product_id, now - _WINDOW, now)
            return {"product_id": product_id, "from": now - _WINDOW, "to": now, "resolution": "raw", "points": points}
        finally:
            self._histories.append(history)


def _product(cursor: psycopg2.extensions.cursor, id_: str) -> dict[str, Any]:
    cursor.execute(_PRODUCT, (id_,))
    product = _as_dicts(cursor)[0]
    cursor.execute(_OFFERS, (id_,))
    product["offers"] = _as_dicts(cursor)
    return product


def _page(cursor: psycopg2.extensions.cursor, query: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return a page of `limit` products, after the time and id `after` unless it is the first page."""
    limit = int(query["limit"][0])
    cursor.execute(_PAGE, (*query.get("after", _BEGINNING), limit + 1))
    names = [column.name for column in cursor.description or ()][:-2]
    page = []
    for row in cursor.fetchall()[:limit]:
        product = dict(zip(names, row, strict=False))
        before, now = product["change_24h"], product["lowest_price"]
        if before is not None and now is not None:
            product["change_24h"] = now - before
            product["change_24h_percent"] = round(100 * (now - before) / before, 2) if before else None
        page.append(product)
    return page


def _as_dicts(cursor: psycopg2.extensions.cursor) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


if __name__ == "__main__":
    pin_to_processor(None)
    serve(
        Floor(os.environ["DATABASE_URL"], timedelta(days=365)),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        threads=THREADS,
        asyncore_use_poll=True,
        connection_limit=900,
    )
