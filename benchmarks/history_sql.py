"""The best hand-written SQL that we know, through psycopg2: the same answers as the service's, for the benchmark.

It knows what the service has to find out: the product exists, was observed before the window, and the window's raw rows
are all there. Several formulations of one answer are tried; the fastest is what the service is measured against.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg2

from productagg.history.trends import Extreme, Trend

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000

# The step in force at the begin, those within, and the gap that has not ended, if there is one.
_STEPS = """
(
    SELECT %(begin)s AS at, {columns}, observed FROM product_prices
    WHERE product_id = %(product_id)s AND observed_at <= %(begin)s
    ORDER BY observed_at DESC LIMIT 1
)
UNION ALL
SELECT observed_at, {columns}, observed FROM product_prices
WHERE product_id = %(product_id)s AND observed_at > %(begin)s AND observed_at <= %(end)s
UNION ALL
SELECT last_synced_at + interval '1 microsecond', {nothing}, false FROM product_sources
WHERE product_id = %(product_id)s AND last_synced_at < %(end)s - %(observed_for)s
"""
_PRICES = _STEPS.format(columns="lowest", nothing="NULL")
_POINTS = _STEPS.format(columns="lowest, average, offers, items_in_stock", nothing="NULL, NULL, 0, 0")
_MICROSECONDS = "(extract(epoch FROM at) * 1000000)::bigint"

_WINDOWS = f"""
WITH spans AS (
    SELECT
        lowest, observed, {_MICROSECONDS} AS at,
        (extract(epoch FROM lead(at, 1, %(end)s) OVER steps - at) * 1000000)::bigint AS us,
        observed AND lag(observed) OVER steps AND lowest IS DISTINCT FROM lag(lowest) OVER steps AS changed
    FROM ({_PRICES}) AS steps
    WINDOW steps AS (ORDER BY at)
), ranked AS (
    SELECT
        *, lowest IS NOT NULL AND us > 0 AS held,
        2 * sum(us) FILTER (WHERE lowest IS NOT NULL) OVER (ORDER BY lowest) AS twice_up_to,
        sum(us) FILTER (WHERE lowest IS NOT NULL) OVER () AS in_stock_us
    FROM spans
)
SELECT
    (SELECT lowest FROM spans ORDER BY at LIMIT 1),
    (SELECT lowest FROM spans ORDER BY at DESC LIMIT 1),
    min(ARRAY[lowest, at]) FILTER (WHERE held),
    min(ARRAY[-lowest, at]) FILTER (WHERE held),
    sum(lowest::numeric * us),
    min(in_stock_us),
    min(lowest) FILTER (WHERE held AND twice_up_to >= in_stock_us),
    min(lowest) FILTER (WHERE held AND twice_up_to > in_stock_us),
    sum(us) FILTER (WHERE observed AND lowest IS NULL),
    max(us) FILTER (WHERE NOT observed),
    count(*) FILTER (WHERE changed)
FROM ranked
"""
_PRICES_AS_JSON = (
    f"SELECT json_agg(json_build_array({_MICROSECONDS}, lowest, observed))::text FROM ({_PRICES}) AS steps"
)
_POINTS_AS_JSON = f"""
SELECT json_agg(json_build_array({_MICROSECONDS}, lowest, average, offers, items_in_stock, observed))::text
FROM ({_POINTS}) AS steps
"""
_STATES = {(True, True): "in_stock", (True, False): "sold_out", (False, False): "not_observed"}

Answer = Callable[[UUID, datetime, datetime], Any]


class HandWritten:
    """The answers, on a connection of their own without transactions. An observation counts for `observed_for`."""

    def __init__(self, url: str, observed_for: timedelta) -> None:
        self._connection = psycopg2.connect(url, options="-c timezone=UTC")
        self._connection.autocommit = True
        self._observed_for = observed_for

    def close(self) -> None:
        self._connection.close()

    def trends(self) -> dict[str, Answer]:
        """The formulations of a trend of the lowest price, by name."""
        return {"windows": self._windows, "json and a loop": self._json_loop, "rows and a loop": self._rows_loop}

    def prices(self) -> dict[str, Answer]:
        """The formulations of a series of raw points."""
        return {"rows": self._rows, "json": self._json}

    def _fetch(self, sql: str, product_id: UUID, begin: datetime, end: datetime) -> list[Any]:
        parameters = {
            "product_id": str(product_id),
            "begin": begin,
            "end": end,
            "observed_for": self._observed_for,
        }
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[Any] = cursor.fetchall()
            return rows

    def _windows(self, product_id: UUID, begin: datetime, end: datetime) -> Trend:
        ((start, finish, lowest, highest, weighted, in_stock, *median, sold_out, gap, changes),) = self._fetch(
            _WINDOWS, product_id, begin, end
        )
        return _trend(
            begin,
            end,
            (start, finish),
            tuple(lowest) if lowest else None,
            (-highest[0], highest[1]) if highest else None,
            (int(weighted or 0), int(in_stock or 0), int(sold_out or 0)),
            sum(median) / 2 if in_stock else None,
            gap or 0,
            changes,
        )

    def _json_loop(self, product_id: UUID, begin: datetime, end: datetime) -> Trend:
        ((text,),) = self._fetch(_PRICES_AS_JSON, product_id, begin, end)
        steps = orjson.loads(text or "[]")
        steps.sort()
        return _added_up(steps, begin, end)

    def _rows_loop(self, product_id: UUID, begin: datetime, end: datetime) -> Trend:
        steps = [
            ((at - _EPOCH) // _MICROSECOND, lowest, observed)
            for at, lowest, observed in self._fetch(f"{_PRICES} ORDER BY at", product_id, begin, end)
        ]
        return _added_up(steps, begin, end)

    def _rows(self, product_id: UUID, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        return [
            {
                "at": at,
                "state": _STATES[observed, lowest is not None],
                "lowest": lowest,
                "average": average,
                "offers": offers,
                "items_in_stock": items,
            }
            for at, lowest, average, offers, items, observed in self._fetch(
                f"{_POINTS} ORDER BY at", product_id, begin, end
            )
        ]

    def _json(self, product_id: UUID, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        ((text,),) = self._fetch(_POINTS_AS_JSON, product_id, begin, end)
        steps = orjson.loads(text or "[]")
        steps.sort()
        return [
            {
                "at": _EPOCH + timedelta(microseconds=at),
                "state": _STATES[observed, lowest is not None],
                "lowest": lowest,
                "average": average,
                "offers": offers,
                "items_in_stock": items,
            }
            for at, lowest, average, offers, items, observed in steps
        ]


def _added_up(steps: list[Any], begin: datetime, end: datetime) -> Trend:
    """The trend of (time in microseconds, price, observed), one after the other."""
    stop = (end - _EPOCH) // _MICROSECOND
    held: dict[int, int] = {}
    since: dict[int, int] = {}
    sold_out = longest_gap = gap = changes = 0
    following = iter(steps)
    next(following, None)
    for at, price, observed in steps:
        later, later_price, later_observed = next(following, (stop, None, False))
        us = later - at
        if not observed:
            gap += us
            longest_gap = max(longest_gap, gap)
            continue
        gap = 0
        changes += later_observed and later_price != price
        if price is None:
            sold_out += us
        elif price in held:
            held[price] += us
        elif us:
            held[price] = us
            since[price] = at
    start, finish = (steps[0][1], steps[-1][1]) if steps else (None, None)
    if not held:
        return _trend(begin, end, (start, finish), None, None, (0, 0, sold_out), None, longest_gap, changes)
    in_stock = sum(held.values())
    lowest, highest = min(held), max(held)
    return _trend(
        begin,
        end,
        (start, finish),
        (lowest, since[lowest]),
        (highest, since[highest]),
        (sum(price * us for price, us in held.items()), in_stock, sold_out),
        _median(held, in_stock),
        longest_gap,
        changes,
    )


def _median(held: dict[int, int], in_stock: int) -> float:
    passed = 0
    prices = sorted(held)
    for number, price in enumerate(prices):
        passed += 2 * held[price]
        if passed == in_stock:
            return (price + prices[number + 1]) / 2
        if passed > in_stock:
            return float(price)
    raise AssertionError("all of the time has passed before")


def _trend(
    begin: datetime,
    end: datetime,
    prices: tuple[int | None, int | None],
    lowest: tuple[int, int] | None,
    highest: tuple[int, int] | None,
    sums: tuple[int, int, int],
    median: float | None,
    longest_gap: int,
    changes: int,
) -> Trend:
    """What is the same in all formulations: a few divisions."""
    start, finish = prices
    weighted, in_stock, sold_out = sums
    observed = in_stock + sold_out
    change = None if start is None or finish is None else finish - start
    return Trend(
        begin=begin,
        end=end,
        resolution="raw",
        metric="lowest",
        currency="EUR",
        start_price=start,
        end_price=finish,
        change=change,
        change_percent=round(100 * change / start, 2) if change is not None and start else None,
        direction=None if change is None else "up" if change > 0 else "down" if change < 0 else "unchanged",
        minimum=Extreme(lowest[0], _EPOCH + timedelta(microseconds=lowest[1])) if lowest else None,
        maximum=Extreme(highest[0], _EPOCH + timedelta(microseconds=highest[1])) if highest else None,
        mean=weighted / in_stock if in_stock else None,
        median=median,
        out_of_stock_percent=round(100 * sold_out / observed, 2) if observed else None,
        observed_percent=round(100 * observed / ((end - begin) // _MICROSECOND), 2),
        longest_gap_seconds=longest_gap / _SECOND,
        changes=changes,
    )
