"""How fast the price history answers: `python -m benchmarks.history`, or `make bench-history`. Results: README.md.

What the service does for one request, through SQLAlchemy, beside hand-written SQL through psycopg2 (history_sql.py), in
turn, in the same run, for another product in each round. What compaction keeps, and how fast it is, measures
history_size.py. `--strict` ends with exit code 1 if a target is missed;
`--quick` only shows that the benchmark works.
"""

import argparse
import gc
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from webob import Request

from benchmarks import harness
from benchmarks.harness import Pairs, Recorder, Targets, in_turn, peak_memory, say, timed
from benchmarks.history_data import History, Size
from benchmarks.history_sql import Answer, HandWritten
from productagg.app import main as application
from productagg.db.engines import reader_engine
from productagg.history.movers import movers
from productagg.history.series import Series, product_series
from productagg.history.trends import Trend, trend
from productagg.settings import OPTIONS, database_url

_MONTH = timedelta(days=30)
_A_YEAR = timedelta(days=365)
_FIVE_YEARS = timedelta(days=5 * 365 + 1)
# So long an observation counts (see Schedule): no gap is open while the benchmark lasts.
_INTERVAL_SECONDS = 86_400
_OBSERVED_FOR = timedelta(seconds=5 * _INTERVAL_SECONDS)


@dataclass(frozen=True)
class Scale:
    """How much history, how many rounds, and how many calls a round takes the median of."""

    size: Size
    rounds: int
    calls: int


_FULL = Scale(Size(products=10_000, raw_rows=50_000_000, seconds=600, measured=200), rounds=41, calls=10)
_QUICK = Scale(Size(products=20, raw_rows=1, seconds=600, measured=3), rounds=1, calls=1)


class Service:
    """What the views do, on a connection of a reading engine, as of `now`."""

    def __init__(self, url: str, now: datetime) -> None:
        self.engine = reader_engine(database_url(url))
        self._now = now

    def trend(self, product_id: UUID, length: timedelta, ago: timedelta = timedelta()) -> Trend:
        end = self._now - ago
        with self.engine.connect() as connection:
            return trend(connection, product_id, end - length, end, now=self._now, observed_for=_OBSERVED_FOR)

    def prices(self, product_id: UUID, length: timedelta, resolution: str = "auto") -> Series:
        with self.engine.connect() as connection:
            window = (self._now - length, self._now)
            return product_series(
                connection, product_id, *window, resolution, now=self._now, observed_for=_OBSERVED_FOR
            )

    def movers(self) -> Any:
        with self.engine.connect() as connection:
            return movers(connection, "24h", "down", 20, at=self._now, observed_for=_OBSERVED_FOR)


class Benchmark:
    """The measurements. Each prints what it found and adds its targets."""

    def __init__(self, history: History, scale: Scale, targets: Targets) -> None:
        self._history = history
        self._scale = scale
        self._targets = targets
        self._service = Service(history.url, history.now)
        self._floor = HandWritten(history.url, _OBSERVED_FOR)
        self._products = cycle(history.measured)
        self._product = next(self._products)

    def run(self, plans: Path | None) -> None:
        service = self._service
        self._beside_sql("trend-30-days", lambda product: service.trend(product, _MONTH), self._floor.trends())
        by_hand = self._floor.prices()
        self._beside_sql("prices-30-days", lambda product: service.prices(product, _MONTH).points, by_hand)
        self._beside_sql("prices-30-days-raw", lambda product: service.prices(product, _MONTH, "raw").points, by_hand)
        self._beside_a_month("trend-5-years", service.trend)
        self._beside_a_month("prices-5-years", service.prices)
        self._a_year_ago()
        self._movers()
        self._requests()
        self._memory()
        if plans is not None:
            self._plans(plans)
        service.engine.dispose()
        self._floor.close()

    def _milliseconds(self, call: Callable[[], object]) -> float:
        """The median of a few calls."""
        gc.collect()
        return statistics.median(timed(call, collect=False) for _ in range(self._scale.calls)) * 1000

    def _pairs(self, first: Callable[[UUID], object], second: Callable[[UUID], object]) -> Pairs:
        """Both in turn, of another product in each round, which both have been asked for before."""

        def choose() -> None:
            self._product = next(self._products)
            first(self._product)
            second(self._product)

        return in_turn(
            self._scale.rounds,
            lambda: self._milliseconds(lambda: first(self._product)),
            lambda: self._milliseconds(lambda: second(self._product)),
            before=choose,
        )

    def _beside_sql(self, name: str, ours: Callable[[UUID], object], by_hand: Mapping[str, Answer]) -> None:
        say(f"{name}, beside the fastest of {', '.join(by_hand)}")
        month = (self._history.now - _MONTH, self._history.now)
        medians = {}
        for formulation, answer in by_hand.items():
            for product in self._history.measured:
                if answer(product, *month) != ours(product):
                    raise RuntimeError(f"{name} of {product} is another one by hand ({formulation})")
            medians[formulation] = statistics.median(
                timed(partial(answer, product, *month)) for product in self._history.measured
            )
        fastest = by_hand[min(medians, key=medians.__getitem__)]
        pairs = self._pairs(ours, lambda product: fastest(product, *month))
        others = ", ".join(f"{each} {value * 1000:.3g} ms" for each, value in medians.items())
        print(f"{name}: {pairs.first} ms, by hand {pairs.second} ms, ratio {pairs.ratio()} (formulations: {others})")
        self._targets.at_most(f"history-{name}", pairs.ratio().median, 1.5)

    def _beside_a_month(self, name: str, ours: Callable[[UUID, timedelta], object]) -> None:
        say(f"{name}, beside 30 days")
        pairs = self._pairs(lambda product: ours(product, _FIVE_YEARS), lambda product: ours(product, _MONTH))
        print(f"{name}: {pairs.first} ms, 30 days {pairs.second} ms, ratio {pairs.ratio()}")
        self._targets.at_most(f"history-{name}", pairs.ratio().median, 10.0)

    def _a_year_ago(self) -> None:
        say("a trend over 30 days a year ago, of summarised days, beside one until now")
        service = self._service
        pairs = self._pairs(
            lambda product: service.trend(product, _MONTH, _A_YEAR), lambda product: service.trend(product, _MONTH)
        )
        print(f"trend over 30 days a year ago: {pairs.first} ms, until now {pairs.second} ms, ratio {pairs.ratio()}")

    def _movers(self) -> None:
        say("movers, beside a trend over 30 days")
        pairs = self._pairs(lambda _: self._service.movers(), lambda product: self._service.trend(product, _MONTH))
        products = self._scale.size.products
        print(f"movers of {products}: {pairs.first} ms, a trend {pairs.second} ms, ratio {pairs.ratio()}")
        self._targets.at_most("history-movers", pairs.ratio().median, 100)

    def _requests(self) -> None:
        say("whole requests, in this process, without a socket")
        with _application(self._history.url) as app:

            def get(path: str, product: UUID) -> None:
                response = Request.blank(path.format(product)).get_response(app)
                if response.status_code != 200:
                    raise RuntimeError(f"{path}: {response.text}")

            for what in ("trend", "prices"):
                days, years = (f"/products/{{}}/{what}?period={period}" for period in ("P30D", "P1826D"))
                pairs = self._pairs(partial(get, days), partial(get, years))
                print(f"GET {days}: {pairs.first} ms; {years}: {pairs.second} ms")

    def _memory(self) -> None:
        peaks = []
        for name, length in (("30 days", _MONTH), ("five years", _FIVE_YEARS)):
            say(f"peak memory, {name}")
            with harness.fresh_process() as process:
                arguments = (self._history.url, self._history.now, self._history.measured[:20], length)
                peaks.append(process.submit(answer, *arguments).result())
            print(f"trends and prices over {name}: peak {peaks[-1]:.1f} MB")
        self._targets.at_most("history-memory-5-years", peaks[1] - peaks[0], 20)

    def _plans(self, file: Path) -> None:
        say("how the statements are executed")
        product = self._history.measured[0]
        questions: dict[str, Callable[[Service], object]] = {
            "trend, 30 days": lambda service: service.trend(product, _MONTH),
            "trend, five years": lambda service: service.trend(product, _FIVE_YEARS),
            "prices, 30 days": lambda service: service.prices(product, _MONTH),
            "prices, five years": lambda service: service.prices(product, _FIVE_YEARS),
            "movers, 24 hours": lambda service: service.movers(),
        }
        parts = []
        for name, ask in questions.items():
            service = Service(self._history.url, self._history.now)
            recorder = Recorder(service.engine, explain="ANALYZE, BUFFERS")
            ask(service)
            service.engine.dispose()
            parts += [f"== {name}\n\n{sent}\n\n{plan}\n" for sent, plan in recorder.plans.items()]
        file.write_text("\n".join(parts), "utf-8")


def answer(url: str, now: datetime, products: list[UUID], length: timedelta) -> float:
    """For a process of its own: ask for what is measured, and say what memory that took at most, in MB."""
    service = Service(url, now)
    for product in products:
        service.trend(product, length)
        service.prices(product, length)
    service.engine.dispose()
    return peak_memory()


def _environment(url: str) -> dict[str, str]:
    return {
        "PRODUCTAGG_MODE": "development",
        "DATABASE_URL": url,
        # Port 9 (discard): nobody listens there, and nobody asks.
        "OFFERS_BASE_URL": "http://127.0.0.1:9",
        "OFFERS_REFRESH_TOKEN": "benchmark",
        "JWT_SECRET": "a secret of the benchmarks, long enough for HS256",
        "SYNC_INTERVAL_SECONDS": str(_INTERVAL_SECONDS),
    }


@contextmanager
def _application(url: str) -> Iterator[Any]:
    with patch.dict(os.environ):
        for option in OPTIONS:
            os.environ.pop(option.variable, None)
        os.environ.update(_environment(url))
        app = application({})
    try:
        yield app
    finally:
        with app.registry.services.synchronizer:
            for engine in app.registry.services.engines:
                engine.dispose()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="few products, to see that it works")
    parser.add_argument("--plans", type=Path, help="where to write how PostgreSQL executes the statements")
    options = parser.parse_args()
    targets = Targets()
    scale = _QUICK if options.quick else _FULL
    with harness.postgresql() as server, harness.database(server, "history") as url:
        print(harness.machine(server))
        history = History(url, scale.size)
        print(history.description)
        # As the server does when it starts.
        gc.collect()
        gc.freeze()
        Benchmark(history, scale, targets).run(options.plans)
        history.close()
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
