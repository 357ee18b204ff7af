"""The speed of the web service: `python -m benchmarks.web`, or `make bench-web`. README.md has the results.

The service and the servers that it is compared with run in processes of their own and take turns under the same load,
so that other load on the machine affects all of them. `--strict` exits with 1 if a target is missed; `--quick` only
shows that the benchmark works.
"""

import argparse
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks import harness, load
from benchmarks.catalogue import Catalogue
from benchmarks.harness import Pairs, Spread, Targets, in_turn, say, timed
from benchmarks.load import Load
from benchmarks.servers import WebServer
from benchmarks.upstream import Upstream
from productagg.settings import database_url

_BIN = Path(sys.executable).parent
_PEER_BIN = harness.ROOT / ".venv-peer" / "bin"
_SECRET = "a secret of the benchmarks, long enough for HS256"
_SLOW_SECONDS = 2.0
_HISTORY_DAYS, _STEPS_PER_DAY = 35, 9
# More than 30 days of prices for each product, as frequent as in the benchmark of the price history.
_HISTORY = f"""
INSERT INTO product_prices (product_id, observed_at, observed, lowest, average, offers, items_in_stock)
SELECT id, now() - (number + random()) * interval '1 day' / {_STEPS_PER_DAY}, true, price, price + 100, 10, 100
FROM products, generate_series(1, {_HISTORY_DAYS * _STEPS_PER_DAY}) AS number,
LATERAL (SELECT (1000 + 500 * random() + 0 * number)::bigint AS price) AS prices
ON CONFLICT DO NOTHING
"""
_FILL_PEER = """
INSERT INTO peer.products (id, name, description) SELECT id, name, description FROM products;
INSERT INTO peer.offers (id, product_id, price, items_in_stock)
SELECT id, product_id, price, items_in_stock FROM offers
"""


@dataclass(frozen=True)
class Scale:
    """Sizes of the catalogues, rounds, seconds per load, and the number of requests when memory is measured."""

    small: int = 1_000
    large: int = 100_000
    rounds: int = 7
    seconds: int = 3
    many: int = 1_000_000


_QUICK = Scale(small=50, large=5_000, rounds=1, seconds=1, many=2_000)


class Laboratory:
    """All servers on one catalogue. `name` is the name of the catalogue."""

    def __init__(self, name: str, catalogue: Catalogue) -> None:
        self.name, self.catalogue = name, catalogue
        self.ids = [str(product_id) for product_id in catalogue.product_ids]
        self.sample = random.sample(self.ids, min(2_000, len(self.ids)))
        self.environ = {
            "DATABASE_URL": catalogue.url,
            "OFFERS_BASE_URL": catalogue.base_url,
            "OFFERS_REFRESH_TOKEN": "benchmark",
            "JWT_SECRET": _SECRET,
            "ADMIN_PASSWORD": "a password of the benchmarks",
            "SYNC_INTERVAL_SECONDS": "86400",
        }

    def ours(self, *variables: str) -> WebServer:
        return WebServer([_BIN / "pserve", "production.ini", "http_port={port}", *variables], self.environ)

    def floor(self) -> WebServer:
        return self._python("web_floor")

    def constant(self) -> WebServer:
        return self._python("web_constant")

    def peer(self) -> WebServer:
        arguments = "benchmarks.peer:app --host 127.0.0.1 --port {port} --loop uvloop --http httptools --no-access-log"
        # It has tables of its own.
        url = database_url(self.catalogue.url).update_query_dict({"options": "-c search_path=peer"})
        environ = {**self.environ, "DATABASE_URL": url.render_as_string(hide_password=False)}
        return WebServer(
            [_PEER_BIN / "uvicorn", *arguments.split(), "--log-level", "warning"], environ, f"/products/{self.ids[0]}"
        )

    def _python(self, module: str) -> WebServer:
        return WebServer(
            [sys.executable, "-m", f"benchmarks.{module}", "{port}"], self.environ, f"/products/{self.ids[0]}"
        )


@dataclass(frozen=True)
class Sample:
    """A load, and the microseconds of CPU time that the server used per response."""

    load: Load
    cpu: float


@dataclass(frozen=True)
class Comparison:
    """The samples of servers that took turns, by the name of the server."""

    samples: dict[str, list[Sample]]

    def ratio(self, first: str, second: str) -> Spread:
        """Return the responses per second of the first server divided by those of the second, round by round."""
        pairs = zip(self.samples[first], self.samples[second], strict=True)
        return Spread([a.load.per_second / b.load.per_second for a, b in pairs])

    def p99_ratio(self, first: str, second: str) -> Spread:
        pairs = zip(self.samples[first], self.samples[second], strict=True)
        return Spread([a.load.p99 / b.load.p99 for a, b in pairs])

    def errors(self, name: str) -> int:
        return sum(sample.load.errors for sample in self.samples[name])

    def show(self, title: str) -> None:
        for name, samples in self.samples.items():
            per_second = Spread([sample.load.per_second for sample in samples]).median
            p50 = Spread([sample.load.p50 for sample in samples]).median
            p99 = Spread([sample.load.p99 for sample in samples]).median
            cpu = Spread([sample.cpu for sample in samples]).median
            print(
                f"{title:<34} {name:<10} {per_second:>8.0f} {p50:>8.1f} {p99:>8.1f} {self.errors(name):>6} {cpu:>9.0f}"
            )


_HEAD = f"{'what':<34} {'server':<10} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'errors':>6} {'us of CPU':>9}"


def compared(
    title: str, scale: Scale, connections: int, servers: Iterable[tuple[str, WebServer, Sequence[str]]]
) -> Comparison:
    """Have each server answer its targets in turn, after a round that does not count; the first one changes."""
    say(title)
    with ExitStack() as files:
        order = [(name, server, files.enter_context(load.targets(lines))) for name, server, lines in servers]
        samples: dict[str, list[Sample]] = {name: [] for name, _, _ in order}
        for round_ in range(scale.rounds + 1):
            for name, server, file in order:
                cpu_before = server.cpu_seconds
                result = load.get(server.url, file, connections, scale.seconds)
                if round_:
                    samples[name].append(Sample(result, (server.cpu_seconds - cpu_before) / result.answered * 1e6))
            order = order[1:] + order[:1]
    comparison = Comparison(samples)
    comparison.show(title)
    return comparison


def products(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """One product with its ten offers, at 16 and at 64 connections; conditional requests; two processes."""
    lines = [f"/products/{id_}" for id_ in laboratory.sample]
    with laboratory.ours() as ours, laboratory.floor() as floor, laboratory.constant() as constant:
        with laboratory.peer() as peer:
            servers = {"ours": ours, "floor": floor, "constant": constant, "peer": peer}
            name = f"one product, {laboratory.name}"
            few = compared(f"{name}, 16", scale, 16, [(key, server, lines) for key, server in servers.items()])
            targets.at_least(f"{_slug(name)}_by_floor", few.ratio("ours", "floor").median, 0.75)
            targets.at_least(f"{_slug(name)}_by_peer", few.ratio("ours", "peer").median, 4)
            print(f"{'':<34} ours / floor {few.ratio('ours', 'floor')}, / peer {few.ratio('ours', 'peer')}")
            if laboratory.name == "B":
                return
            many = compared(f"{name}, 64", scale, 64, [(key, servers[key], lines) for key in ("ours", "floor", "peer")])
            targets.at_least("64_connections_share_of_floor", many.ratio("ours", "floor").median, 0.75)
            waits = many.p99_ratio("ours", "floor")
            targets.at_most("64_connections_p99_by_floor", waits.median, 1 / 0.75)
            targets.at_most("64_connections_errors", many.errors("ours"), 0)
            print(f"{'':<34} ours / floor {many.ratio('ours', 'floor')}, p99 {waits}")
        conditional = [f"/products/{id_}\t{_etag(ours, id_)}" for id_ in laboratory.sample]
        not_modified = compared("not modified, 16", scale, 16, [("ours", ours, conditional), ("floor", floor, lines)])
        targets.at_least("not_modified_by_floor", not_modified.ratio("ours", "floor").median, 1.0)
        print(f"{'':<34} ours / floor {not_modified.ratio('ours', 'floor')}")
    for connections in (16, 64):
        with laboratory.ours() as one, laboratory.ours("processes=2") as two:
            pair = [("one", one, lines), ("two", two, lines)]
            processes = compared(f"processes, {connections}", scale, connections, pair)
            print(f"{'':<34} two / one {processes.ratio('two', 'one')}")
    targets.at_least("two_processes_by_one", processes.ratio("two", "one").median, 1.7)


def lists(small: Laboratory, large: Laboratory, scale: Scale, targets: Targets) -> None:
    """A page of 50 products: the first page, and pages deep in the large catalogue."""
    first = ["/products?limit=50"]
    with small.ours() as ours_small, small.floor() as floor_small, large.ours() as ours, large.floor() as floor:
        deep, deep_of_floor = _deep_pages(ours, scale)
        comparison = compared(
            "50 products, A and B, 16",
            scale,
            16,
            [
                ("ours A", ours_small, first),
                ("floor A", floor_small, first),
                ("ours B", ours, first),
                ("floor B", floor, first),
                ("deep B", ours, deep),
                ("floor deep", floor, deep_of_floor),
            ],
        )
    for name, a, b in (("A", "ours A", "floor A"), ("B", "ours B", "floor B"), ("deep_B", "deep B", "floor deep")):
        targets.at_least(f"list_{name}_by_floor", comparison.ratio(a, b).median, 0.8)
        print(f"{'':<34} {a} / {b} {comparison.ratio(a, b)}")
    for name, a, b in (("deep_by_first_page", "deep B", "ours B"), ("B_by_A", "ours B", "ours A")):
        targets.at_least(f"list_{name}", comparison.ratio(a, b).median, 0.9)
        print(f"{'':<34} {a} / {b} {comparison.ratio(a, b)}")


def histories(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """Prices and trend over 30 days."""
    with laboratory.ours() as ours, laboratory.floor() as floor:
        for resource in ("prices", "trend"):
            lines = [f"/products/{id_}/{resource}?period=30d" for id_ in laboratory.sample]
            servers = [("ours", ours, lines), ("floor", floor, lines)]
            ratio = compared(f"{resource}, 30 days, 16", scale, 16, servers).ratio("ours", "floor")
            targets.at_least(f"{resource}_by_floor", ratio.median, 0.8)
            print(f"{'':<34} ours / floor {ratio}")


class _Posts:
    """Loads of new products, from 8 connections. Counts the responses and errors of our server."""

    def __init__(self, laboratory: Laboratory, scale: Scale) -> None:
        self._scale = scale
        self._passwords = {"ours": laboratory.environ["ADMIN_PASSWORD"], "peer": "admin"}
        self.created: list[str] = []
        self.answered = self.errors = 0

    def rates(self, servers: dict[str, WebServer]) -> Pairs:
        """Return the new products per second of our server and of the peer."""
        rates: dict[str, list[float]] = {name: [] for name in servers}
        for round_ in range(self._scale.rounds + 1):
            for name in servers if round_ % 2 else reversed(servers):
                result = self._load(name, servers[name], f"new {name} {round_}")
                if round_:
                    rates[name].append(result.per_second)
        return Pairs(Spread(rates["ours"]), Spread(rates["peer"]))

    def waits(self, ours: WebServer, upstream: Upstream) -> Pairs:
        """Return the 99th percentile of the response times with a slow and with a fast Offers service."""
        waits: dict[float, list[float]] = {_SLOW_SECONDS: [], 0.0: []}
        for round_ in range(self._scale.rounds + 1):
            for latency in waits if round_ % 2 else reversed(waits):
                upstream.set_latency(latency)
                result = self._load("ours", ours, f"new ours {latency} {round_}")
                if round_:
                    waits[latency].append(result.p99)
        upstream.set_latency(0)
        return Pairs(Spread(waits[_SLOW_SECONDS]), Spread(waits[0.0]))

    def _load(self, name: str, server: WebServer, prefix: str) -> Load:
        token = _token(server, self._passwords[name])
        result, ids = load.post(server.url, token, prefix, 8, self._scale.seconds)
        if name == "ours":
            self.answered += result.answered
            self.errors += result.errors
            self.created += ids
        return result


def posts(laboratory: Laboratory, upstream: Upstream, scale: Scale, targets: Targets) -> None:
    """New products; then new products with a slow Offers service."""
    say("new products")
    posted = _Posts(laboratory, scale)
    with laboratory.ours() as ours, laboratory.peer() as peer:
        rates = posted.rates({"ours": ours, "peer": peer})
        waits = posted.waits(ours, upstream)
        count = "SELECT count(*) FROM products WHERE id = ANY(%s::uuid[])"
        ((stored,),) = laboratory.catalogue.query(count, posted.created)
        # The next measurements expect the catalogue's original size.
        laboratory.catalogue.execute("DELETE FROM products WHERE name LIKE 'new %'")
        laboratory.catalogue.vacuum()
    print(f"new products, 8: ours {rates.first} per second, peer {rates.second}, ratio {rates.ratio()}")
    print(f"new products, 8: p99 {waits.second} ms, with a slow upstream {waits.first}, ratio {waits.ratio()}")
    created = len(posted.created)
    print(
        f"new products: {posted.answered} answers, {posted.errors} errors, {created} created, {stored} of them stored"
    )
    targets.at_least("new_products_by_peer", rates.ratio().median, 3)
    targets.at_most("new_products_errors", posted.errors, 0)
    targets.at_most("new_products_lost", created - stored, 0)
    targets.at_most("new_products_p99_slow_upstream", waits.ratio().median, 1.25)


def reads_during_sync(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """Reads during a sync run over the whole catalogue, divided by reads before and after it."""
    say("reads during a sync run")
    catalogue = laboratory.catalogue
    with laboratory.ours() as ours, load.targets(f"/products/{id_}" for id_ in laboratory.sample) as file:
        load.get(ours.url, file, 16, scale.seconds)
        ratios = []
        for _ in range(max(1, scale.rounds // 2)):
            before = load.get(ours.url, file, 16, scale.seconds).per_second
            catalogue.make_due()
            with _syncing(catalogue):
                time.sleep(min(5, scale.seconds))  # until it has begun
                during = load.get(ours.url, file, 16, 2 * scale.seconds).per_second
            after = load.get(ours.url, file, 16, scale.seconds).per_second
            ratios.append(2 * during / (before + after))
            say(f"  {before:.0f}, during a sync run {during:.0f}, {after:.0f}")
    print(f"one product, reads during a sync run over {len(laboratory.ids)} by reads without: {Spread(ratios)}")
    targets.at_least("reads_beside_a_run", Spread(ratios).median, 0.6)


def memory(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """The memory of a process after a tenth of the requests and after all of them."""
    say(f"{scale.many} requests")
    lines = [f"/products/{id_}" for id_ in laboratory.sample]
    with laboratory.ours() as ours, load.targets([*lines, "/products?limit=50"]) as file:
        samples, answered = [], 0
        while answered < scale.many:
            answered += load.get(ours.url, file, 16, 10 * scale.seconds).answered
            samples.append((answered, max(ours.memory)))
            say(f"  {answered}: {samples[-1][1]:.1f} MB")
    early = next(used for count, used in samples if count >= scale.many / 10)
    last = samples[-1][1]
    print(f"memory of a process: {early:.1f} MB after a tenth of {answered} requests, {last:.1f} MB after all")
    targets.at_most("memory_mb", last, 90)
    targets.at_most("memory_growth_mb", last - early, 5)


def starts(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """The time from the command to the first response, and of an empty sync run, divided by that of their imports."""
    say("start-up")
    web = "import pyramid.config, cornice, colander, pyramid_jwt, pyramid_tm, sqlalchemy.orm, zope.sqlalchemy, psycopg2"
    web += ", waitress, requests, orjson, apispec, argon2, pyramid.scripts.pserve, pythonjsonlogger.json, uuid_utils"
    web += ", itsdangerous, limits, sqlalchemy.dialects.postgresql.psycopg2"
    sync = "import click, sqlalchemy.orm, psycopg2, requests, orjson, plaster_pastedeploy, pythonjsonlogger.json"
    sync += ", uuid_utils, sqlalchemy.dialects.postgresql.psycopg2"

    def imported(code: str) -> Callable[[], float]:
        return lambda: timed(lambda: subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True))

    def served() -> float:
        with laboratory.ours() as ours:
            return ours.start_seconds

    laboratory.catalogue.execute("UPDATE product_sources SET next_sync_at = now() + interval '1 day'")
    rounds = 2 * scale.rounds
    pserve = in_turn(rounds, served, imported(web))
    empty_runs = in_turn(rounds, lambda: timed(laboratory.catalogue.run_command), imported(sync))
    print(f"pserve answers in {pserve.first} s, imports take {pserve.second} s, ratio {pserve.ratio()}")
    print(f"an empty run takes {empty_runs.first} s, imports take {empty_runs.second} s, ratio {empty_runs.ratio()}")
    targets.at_most("pserve_by_imports", pserve.ratio().median, 1.5)
    targets.at_most("empty_pass_by_imports", empty_runs.ratio().median, 1.5)


@contextmanager
def _syncing(catalogue: Catalogue) -> Iterator[None]:
    """Run a sync in a process of its own while the context is open."""
    process = catalogue.start_command()
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError("the sync run ended before the reads")
    finally:
        process.terminate()
        process.wait()


def _etag(server: WebServer, id_: str) -> str:
    return requests.get(f"{server.url}/products/{id_}", timeout=10).headers["ETag"]


def _token(server: WebServer, password: str) -> str:
    answer = requests.post(f"{server.url}/login", json={"username": "admin", "password": password}, timeout=10)
    answer.raise_for_status()
    token: str = answer.json()["access_token"]
    return token


def _deep_pages(ours: WebServer, scale: Scale) -> tuple[list[str], list[str]]:
    """Return the paths of pages in the second half of the catalogue, for our server and for the floor."""
    deep, deep_of_floor = [], []
    path, pages, session = "/products?limit=50", scale.large // 50, requests.Session()
    for number in range(pages - 1):
        answer = session.get(ours.url + path, timeout=10)
        link = re.search(r'<([^>]*)>; rel="next"', answer.headers["Link"])
        assert link is not None
        path = link[1].removeprefix(ours.url)
        if number >= pages // 2:
            last = answer.json()[-1]
            deep.append(path)
            deep_of_floor.append(f"/products?limit=50&after={last['created_at']}&after={last['id']}")
    return deep, deep_of_floor


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


@contextmanager
def _laboratory(name: str, server: str, upstream: Upstream, size: int) -> Iterator[Laboratory]:
    say(f"catalogue {name}: {size} products")
    with harness.database(server, f"web_{name.lower()}") as url:
        catalogue = Catalogue(url, upstream, size)
        laboratory = Laboratory(name, catalogue)
        catalogue.execute("CREATE SCHEMA peer")
        with laboratory.peer():
            pass  # starting it creates its tables
        catalogue.execute(_FILL_PEER)
        if name == "A":
            catalogue.execute(_HISTORY)
        catalogue.vacuum()
        yield laboratory
        catalogue.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="a tiny run, to check that it works")
    options = parser.parse_args()
    scale = _QUICK if options.quick else Scale()
    load.check()
    targets = Targets()
    with harness.postgresql() as server, Upstream() as upstream:
        print(harness.machine(server))
        print(_HEAD)
        with _laboratory("A", server, upstream, scale.small) as small:
            products(small, scale, targets)
            histories(small, scale, targets)
            posts(small, upstream, scale, targets)
            starts(small, scale, targets)
            with _laboratory("B", server, upstream, scale.large) as large:
                products(large, scale, targets)
                lists(small, large, scale, targets)
                reads_during_sync(large, scale, targets)
            memory(small, scale, targets)
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
