"""How fast the web service answers: `python -m benchmarks.web`, or `make bench-web`. README.md has the results.

Servers in processes of their own, the service and what it is measured against, take turns under the same load, so that
what else the machine does falls on all of them. `--strict` ends with exit code 1 if a target is missed; `--quick` only
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
# Prices of every product for more than 30 days, as often as in the benchmark of the price history.
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
    """Products in the small and in the large catalogue, rounds, seconds of each load, and requests for the memory."""

    small: int = 1_000
    large: int = 100_000
    rounds: int = 7
    seconds: int = 3
    many: int = 1_000_000


_QUICK = Scale(small=50, large=5_000, rounds=1, seconds=1, many=2_000)


class Laboratory:
    """All servers over one catalogue. `name` is that of the catalogue."""

    def __init__(self, name: str, catalogue: Catalogue) -> None:
        self.name, self.catalogue = name, catalogue
        self.ids = [str(each) for each in catalogue.product_ids]
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
        # Its tables are its own.
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
    """A load, and what the server used for each answer, in microseconds of processor time."""

    load: Load
    cpu: float


@dataclass(frozen=True)
class Comparison:
    """What servers did in turn, by name."""

    samples: dict[str, list[Sample]]

    def ratio(self, first: str, second: str) -> Spread:
        """Answers per second of the one by those of the other, round by round."""
        pairs = zip(self.samples[first], self.samples[second], strict=True)
        return Spread([a.load.per_second / b.load.per_second for a, b in pairs])

    def of(self, name: str, what: Callable[[Sample], float]) -> Spread:
        return Spread([what(each) for each in self.samples[name]])

    def errors(self, name: str) -> int:
        return sum(each.load.errors for each in self.samples[name])

    def show(self, title: str) -> None:
        for name in self.samples:
            per_second, p50, p99, cpu = (
                self.of(name, what)
                for what in (
                    lambda each: each.load.per_second,
                    lambda each: each.load.p50,
                    lambda each: each.load.p99,
                    lambda each: each.cpu,
                )
            )
            print(
                f"{title:<34} {name:<10} {per_second.median:>8.0f} {p50.median:>8.1f} {p99.median:>8.1f} "
                f"{self.errors(name):>6} {cpu.median:>9.0f}"
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
                cpu = server.cpu_seconds
                found = load.get(server.url, file, connections, scale.seconds)
                if round_:
                    samples[name].append(Sample(found, (server.cpu_seconds - cpu) / found.answered * 1e6))
            order = order[1:] + order[:1]
    result = Comparison(samples)
    result.show(title)
    return result


def products(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """One product with its ten offers, at 16 and at 64 connections; what a client has already; two processes."""
    lines = [f"/products/{id_}" for id_ in laboratory.sample]
    with laboratory.ours() as ours, laboratory.floor() as floor, laboratory.constant() as constant:
        with laboratory.peer() as peer:
            servers = {"ours": ours, "floor": floor, "constant": constant, "peer": peer}
            name = f"one product, {laboratory.name}"
            found = compared(f"{name}, 16", scale, 16, [(key, each, lines) for key, each in servers.items()])
            targets.at_least(f"{_slug(name)}_by_floor", found.ratio("ours", "floor").median, 0.75)
            targets.at_least(f"{_slug(name)}_by_peer", found.ratio("ours", "peer").median, 4)
            print(f"{'':<34} ours / floor {found.ratio('ours', 'floor')}, / peer {found.ratio('ours', 'peer')}")
            if laboratory.name == "B":
                return
            many = compared(f"{name}, 64", scale, 64, [(key, servers[key], lines) for key in ("ours", "floor", "peer")])
            targets.at_least("64_connections_share_of_floor", many.ratio("ours", "floor").median, 0.75)
            waits = Spread(
                [a.load.p99 / b.load.p99 for a, b in zip(many.samples["ours"], many.samples["floor"], strict=True)]
            )
            targets.at_most("64_connections_p99_by_floor", waits.median, 1 / 0.75)
            targets.at_most("64_connections_errors", many.errors("ours"), 0)
            print(f"{'':<34} ours / floor {many.ratio('ours', 'floor')}, p99 {waits}")
        known = [f"/products/{id_}\t{_tag(ours, id_)}" for id_ in laboratory.sample]
        found = compared("not modified, 16", scale, 16, [("ours", ours, known), ("floor", floor, lines)])
        targets.at_least("not_modified_by_floor", found.ratio("ours", "floor").median, 1.0)
        print(f"{'':<34} ours / floor {found.ratio('ours', 'floor')}")
    for connections in (16, 64):
        with laboratory.ours() as one, laboratory.ours("processes=2") as two:
            pair = [("one", one, lines), ("two", two, lines)]
            found = compared(f"processes, {connections}", scale, connections, pair)
            print(f"{'':<34} two / one {found.ratio('two', 'one')}")
    targets.at_least("two_processes_by_one", found.ratio("two", "one").median, 1.7)


def lists(small: Laboratory, large: Laboratory, scale: Scale, targets: Targets) -> None:
    """A page of 50 products: the first, and deep in the large catalogue."""
    first = ["/products?limit=50"]
    with small.ours() as ours_small, small.floor() as floor_small, large.ours() as ours, large.floor() as floor:
        theirs, deep = _deep(floor, ours, scale)
        found = compared(
            "50 products, A and B, 16",
            scale,
            16,
            [
                ("ours A", ours_small, first),
                ("floor A", floor_small, first),
                ("ours B", ours, first),
                ("floor B", floor, first),
                ("deep B", ours, deep),
                ("floor deep", floor, theirs),
            ],
        )
    for name, a, b in (("A", "ours A", "floor A"), ("B", "ours B", "floor B"), ("deep_B", "deep B", "floor deep")):
        targets.at_least(f"list_{name}_by_floor", found.ratio(a, b).median, 0.8)
        print(f"{'':<34} {a} / {b} {found.ratio(a, b)}")
    for name, a, b in (("deep_by_first_page", "deep B", "ours B"), ("B_by_A", "ours B", "ours A")):
        targets.at_least(f"list_{name}", found.ratio(a, b).median, 0.9)
        print(f"{'':<34} {a} / {b} {found.ratio(a, b)}")


def histories(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """Prices and trend over 30 days."""
    with laboratory.ours() as ours, laboratory.floor() as floor:
        for what in ("prices", "trend"):
            lines = [f"/products/{id_}/{what}?period=30d" for id_ in laboratory.sample]
            found = compared(f"{what}, 30 days, 16", scale, 16, [("ours", ours, lines), ("floor", floor, lines)])
            targets.at_least(f"{what}_by_floor", found.ratio("ours", "floor").median, 0.8)
            print(f"{'':<34} ours / floor {found.ratio('ours', 'floor')}")


def posts(laboratory: Laboratory, upstream: Upstream, scale: Scale, targets: Targets) -> None:
    """New products from 8 connections; then the same with an upstream that takes its time."""
    say("new products")
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    waits: dict[str, list[float]] = {"fast": [], "slow": []}
    answered = errors = 0
    created: list[str] = []

    def run(name: str, server: WebServer, key: str, prefix: str) -> Load:
        nonlocal answered, errors
        found, ids = load.post(server.url, key, prefix, 8, scale.seconds)
        if name == "ours":
            answered, errors = answered + found.answered, errors + found.errors
            created.extend(ids)
        return found

    with laboratory.ours() as ours, laboratory.peer() as peer:
        servers = {"ours": ours, "peer": peer}
        passwords = {"ours": laboratory.environ["ADMIN_PASSWORD"], "peer": "admin"}
        for round_ in range(scale.rounds + 1):
            keys = {name: _token(servers[name], passwords[name]) for name in servers}
            for name in servers if round_ % 2 else reversed(servers):
                found = run(name, servers[name], keys[name], f"new {name} {round_}")
                if round_:
                    rates[name].append(found.per_second)
        for round_ in range(scale.rounds + 1):
            key = _token(ours, passwords["ours"])
            for latency in ("fast", "slow") if round_ % 2 else ("slow", "fast"):
                upstream.latency = _SLOW_SECONDS if latency == "slow" else 0.0
                found = run("ours", ours, key, f"new ours {latency} {round_}")
                if round_:
                    waits[latency].append(found.p99)
        upstream.latency = 0.0
        counted = "SELECT count(*) FROM products WHERE id = ANY(%s::uuid[])"
        ((stored,),) = laboratory.catalogue.query(counted, created)
        # What is measured next is of the size that it is said to be.
        laboratory.catalogue.execute("DELETE FROM products WHERE name LIKE 'new %'")
        laboratory.catalogue.vacuum()
    ratio = Pairs(Spread(rates["ours"]), Spread(rates["peer"])).ratio()
    slower = Pairs(Spread(waits["slow"]), Spread(waits["fast"])).ratio()
    print(f"new products, 8: ours {Spread(rates['ours'])} per second, peer {Spread(rates['peer'])}, ratio {ratio}")
    print(
        f"new products, 8: p99 {Spread(waits['fast'])} ms, with a slow upstream {Spread(waits['slow'])}, ratio {slower}"
    )
    print(f"new products: {answered} answers, {errors} errors, {len(created)} created, {stored} of them stored")
    targets.at_least("new_products_by_peer", ratio.median, 3)
    targets.at_most("new_products_errors", errors, 0)
    targets.at_most("new_products_lost", len(created) - stored, 0)
    targets.at_most("new_products_p99_slow_upstream", slower.median, 1.25)


def beside_a_pass(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """Reads while a pass runs over the whole catalogue, by reads before and after it."""
    say("reads beside a pass")
    catalogue = laboratory.catalogue
    with laboratory.ours() as ours, load.targets(f"/products/{id_}" for id_ in laboratory.sample) as file:
        load.get(ours.url, file, 16, scale.seconds)
        ratios = []
        for _ in range(max(1, scale.rounds // 2)):
            before = load.get(ours.url, file, 16, scale.seconds).per_second
            catalogue.make_due()
            with _passing(catalogue):
                time.sleep(min(5, scale.seconds))  # it has begun
                beside = load.get(ours.url, file, 16, 2 * scale.seconds).per_second
            after = load.get(ours.url, file, 16, scale.seconds).per_second
            ratios.append(2 * beside / (before + after))
            say(f"  {before:.0f}, beside a pass {beside:.0f}, {after:.0f}")
    print(f"one product beside a pass over {len(laboratory.ids)}, by without: {Spread(ratios)}")
    targets.at_least("reads_beside_a_pass", Spread(ratios).median, 0.6)


def memory(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """What a process has in memory, after a tenth of the requests and after all of them."""
    say(f"{scale.many} requests")
    lines = [f"/products/{id_}" for id_ in laboratory.sample]
    with laboratory.ours() as ours, load.targets([*lines, "/products?limit=50"]) as file:
        seen, answered = [], 0
        while answered < scale.many:
            answered += load.get(ours.url, file, 16, 10 * scale.seconds).answered
            seen.append((answered, max(ours.memory)))
            say(f"  {answered}: {seen[-1][1]:.1f} MB")
    early = next(used for count, used in seen if count >= scale.many / 10)
    last = seen[-1][1]
    print(f"memory of a process: {early:.1f} MB after a tenth of {answered} requests, {last:.1f} MB after all")
    targets.at_most("memory_mb", last, 90)
    targets.at_most("memory_growth_mb", last - early, 5)


def starts(laboratory: Laboratory, scale: Scale, targets: Targets) -> None:
    """From the command to the first answer, and a pass with nothing to do, by importing what they depend on."""
    say("start-up")
    web = "import pyramid.config, cornice, colander, pyramid_jwt, pyramid_tm, sqlalchemy.orm, zope.sqlalchemy, psycopg2"
    web += ", waitress, requests, orjson, apispec, argon2, pyramid.scripts.pserve, pythonjsonlogger.json, uuid_utils"
    web += ", itsdangerous, limits, sqlalchemy.dialects.postgresql.psycopg2"
    sync = "import click, sqlalchemy.orm, psycopg2, requests, orjson, plaster_pastedeploy, pythonjsonlogger.json"
    sync += ", uuid_utils, sqlalchemy.dialects.postgresql.psycopg2"

    def imported(what: str) -> Callable[[], float]:
        return lambda: timed(lambda: subprocess.run([sys.executable, "-W", "ignore", "-c", what], check=True))

    def served() -> float:
        with laboratory.ours() as ours:
            return ours.start_seconds

    laboratory.catalogue.execute("UPDATE product_sync SET next_sync_at = now() + interval '1 day'")
    rounds = 2 * scale.rounds
    pserve = in_turn(rounds, served, imported(web))
    passes = in_turn(rounds, lambda: timed(laboratory.catalogue.run_command), imported(sync))
    print(f"pserve answers in {pserve.first} s, imports take {pserve.second} s, ratio {pserve.ratio()}")
    print(f"an empty pass takes {passes.first} s, imports take {passes.second} s, ratio {passes.ratio()}")
    targets.at_most("pserve_by_imports", pserve.ratio().median, 1.5)
    targets.at_most("empty_pass_by_imports", passes.ratio().median, 1.5)


@contextmanager
def _passing(catalogue: Catalogue) -> Iterator[None]:
    """A pass in a process of its own, which is ended with it."""
    process = catalogue.start_command()
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError("the pass was over before the reads were")
    finally:
        process.terminate()
        process.wait()


def _tag(server: WebServer, id_: str) -> str:
    return requests.get(f"{server.url}/products/{id_}", timeout=10).headers["ETag"]


def _token(server: WebServer, password: str) -> str:
    answer = requests.post(f"{server.url}/login", json={"username": "admin", "password": password}, timeout=10)
    answer.raise_for_status()
    token: str = answer.json()["access_token"]
    return token


def _deep(floor: WebServer, ours: WebServer, scale: Scale) -> tuple[list[str], list[str]]:
    """Targets of pages in the second half of the catalogue: the floor's, and ours."""
    theirs, deep = [], []
    path, pages, session = "/products?limit=50", scale.large // 50, requests.Session()
    for number in range(pages - 1):
        answer = session.get(ours.url + path, timeout=10)
        link = re.search(r'<([^>]*)>; rel="next"', answer.headers["Link"])
        assert link is not None
        path = link[1].removeprefix(ours.url)
        if number >= pages // 2:
            last = answer.json()[-1]
            deep.append(path)
            theirs.append(f"/products?limit=50&after={last['created_at']}&after={last['id']}")
    return theirs, deep


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
            pass  # it makes its tables
        catalogue.execute(_FILL_PEER)
        if name == "A":
            catalogue.execute(_HISTORY)
        catalogue.vacuum()
        yield laboratory
        catalogue.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="a tiny run: it works, its figures mean nothing")
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
                beside_a_pass(large, scale, targets)
            memory(small, scale, targets)
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
