"""The cost of reads, writes and syncs as the catalogue grows: `python -m benchmarks.scaling`, or `make bench-scaling`.

docs/scaling.md has the results. Each larger catalogue and the smallest one are measured in turn, so that other load on
the machine affects both. `--strict` exits with 1 if a target is missed; `--quick` only shows that the benchmark works.
"""

import argparse
import gc
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
from sqlalchemy.orm import sessionmaker

from benchmarks import harness
from benchmarks.catalogue import Catalogue
from benchmarks.harness import Spread, Targets, in_turn, say, timed
from benchmarks.upstream import Upstream
from productagg.catalog import products as catalog
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.listing import ProductPage, page
from productagg.catalog.product_query import Cursor, ProductQuery
from productagg.db.engines import reader_engine, writer_engine
from productagg.settings import database_url
from productagg.sync.run import Synchronizer

_PAGE = 50
_TABLES = ("products", "product_sources", "product_summaries", "offers", "offer_prices", "product_prices", "changes")
# The size of a table with its partitions and indexes, and its number of rows.
_SIZE = """
SELECT pg_total_relation_size('{0}') + coalesce(sum(pg_total_relation_size(relid)) FILTER (WHERE level > 0), 0),
    (SELECT count(*) FROM {0})
FROM pg_partition_tree('{0}')
"""
# The most that an operation may cost at the largest size, divided by its cost at the smallest size.
_LIMITS = {"read": 1.5, "page": 1.5, "page in the middle": 1.5, "create": 2.0, "change": 2.0, "sync": 2.0}


@dataclass(frozen=True)
class Scale:
    """Sizes of the catalogues, rounds, calls and writes per round, and the number of due products of a sync run."""

    sizes: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
    rounds: int = 9
    runs: int = 5
    calls: int = 100
    writes: int = 30
    due: int = 1_000


_QUICK = Scale(sizes=(50, 100, 200), rounds=1, runs=1, calls=5, writes=3, due=50)


class Operations:
    """The measured operations on a catalogue. Their results are milliseconds per product, or per page."""

    def __init__(self, catalogue: Catalogue, upstream: Upstream, synchronizer: Synchronizer, scale: Scale) -> None:
        self.catalogue = catalogue
        self._upstream = upstream
        self._synchronizer = synchronizer
        self._scale = scale
        url = database_url(catalogue.url)
        self._engines = reader_engine(url), writer_engine(url)
        self._reader = self._engines[0].connect()
        self._sessions = sessionmaker(self._engines[1])
        ((self._backend,),) = catalogue.query("SELECT pg_backend_pid()")
        self._round, self._left = upstream.round - 1, list[UUID]()
        self.cpu: list[tuple[float, float]] = []
        self.wal: list[float] = []

    def close(self) -> None:
        self._reader.close()
        for engine in self._engines:
            engine.dispose()

    def by_name(self) -> dict[str, Callable[[], float]]:
        return {
            "read": lambda: self._median(self._scale.calls, lambda id_: catalog.get(self._reader, id_)),
            "page": lambda: self._median(self._scale.calls, lambda _: self._page(None)),
            "page in the middle": self._pages_in_the_middle,
            "sync": self.sync,
            "create": self.create,
            "change": lambda: self._median(self._scale.writes, self._change),
        }

    def _median(self, calls: int, call: Callable[[UUID], object]) -> float:
        product_ids = random.choices(self.catalogue.product_ids, k=calls)
        gc.collect()
        return statistics.median(timed(lambda id_=id_: call(id_), collect=False) for id_ in product_ids) * 1000  # type: ignore[misc]

    def _page(self, place: Cursor | None) -> ProductPage:
        found = page(self._reader, ProductQuery(), _PAGE, place)
        assert found.products
        return found

    def _pages_in_the_middle(self) -> float:
        ids = self.catalogue.product_ids
        middle = [str(id_) for id_ in random.choices(ids[len(ids) // 4 : 3 * len(ids) // 4], k=self._scale.calls)]
        rows = self.catalogue.query("SELECT id::text, created_at FROM products WHERE id = ANY(%s::uuid[])", middle)
        ((newest,),) = self.catalogue.query("SELECT coalesce(max(sequence), 0) FROM changes")
        places = [Cursor(at.isoformat(), UUID(id_), newest, backward=False, inclusive=False) for id_, at in rows]
        return self._median(self._scale.calls, lambda _: self._page(random.choice(places)))

    def create(self) -> float:
        added: list[UUID | None] = []

        def create(_: UUID) -> None:
            name = f"Product {uuid4()}"
            with self._sessions.begin() as session:
                added.extend(create_many(session, [NewProduct(name, "New.")]))

        milliseconds = self._median(self._scale.writes, create)
        # Otherwise they would be due in later sync runs.
        self.catalogue.execute(
            "DELETE FROM products WHERE id = ANY(%s::uuid[])", [str(product_id) for product_id in added]
        )
        return milliseconds

    def _change(self, product_id: UUID) -> None:
        with self._sessions.begin() as session:
            catalog.change(session, product_id, description=f"Changed: {uuid4()}")

    def sync(self) -> float:
        """Run a sync. Each product is fetched once per round of the upstream, so 3 of its 10 offers have changed."""
        if len(self._left) < self._scale.due:
            self._left = random.sample(self.catalogue.product_ids, len(self.catalogue.product_ids))
            self._round += 1
        due, self._left = self._left[: self._scale.due], self._left[self._scale.due :]
        self._upstream.round = self._round
        self._upstream.advance()
        self.catalogue.make_these_due(due)
        lsn = "SELECT pg_current_wal_insert_lsn() - '0/0'"
        ((wal,),), cpu, postgresql_cpu = self.catalogue.query(lsn), time.process_time(), self._postgresql_seconds()
        seconds = timed(self._synchronizer.run)
        cpu, postgresql_cpu = time.process_time() - cpu, self._postgresql_seconds() - postgresql_cpu
        self.cpu.append((cpu / len(due) * 1000, postgresql_cpu / len(due) * 1000))
        self.wal.append(float(self.catalogue.query(lsn)[0][0] - wal) / len(due))
        self.catalogue.check()
        return seconds / len(due) * 1000

    def _postgresql_seconds(self) -> float:
        """Return the CPU time that all processes of the server, on this machine, have used so far."""
        server = psutil.Process(self._backend).parent()
        assert server is not None
        return sum(server.cpu_times()[:4]) + sum(sum(child.cpu_times()[:2]) for child in server.children())


class Benchmark:
    def __init__(self, server: str, upstream: Upstream, scale: Scale, targets: Targets) -> None:
        self._server = server
        self._upstream = upstream
        self._scale = scale
        self._targets = targets
        self._costs: dict[str, dict[int, Spread]] = {name: {} for name in _LIMITS}
        self._ratios: dict[str, Spread] = {}

    def run(self) -> dict[str, dict[int, Spread]]:
        smallest, *others = self._scale.sizes
        with self._operations(smallest) as small:
            for size in others:
                with self._operations(size) as large:
                    self._beside(small, large)
                    self._print(large)
            self._print(small)
        for name, limit in _LIMITS.items():
            costs = ", ".join(f"{size:,}: {self._costs[name][size]}" for size in self._scale.sizes)
            print(f"{name}, ms by products: {costs}; largest by smallest {self._ratios[name]}")
            self._targets.at_most(f"scaling-{name.replace(' ', '-')}", self._ratios[name].median, limit)
        return self._costs

    @contextmanager
    def _operations(self, size: int) -> Iterator[Operations]:
        say(f"a catalogue of {size} products")
        with harness.database(self._server, f"scaling_{size}") as url:
            start = time.perf_counter()
            catalogue = Catalogue(url, self._upstream, size)
            say(f"  loaded in {time.perf_counter() - start:.0f} s")
            # Otherwise PostgreSQL would write the loaded pages during the measurements.
            catalogue.execute("CHECKPOINT")
            self._bytes(catalogue, size)
            with catalogue.synchronizer() as synchronizer:
                operations = Operations(catalogue, self._upstream, synchronizer, self._scale)
                yield operations
                operations.close()
            catalogue.close()

    def _beside(self, small: Operations, large: Operations) -> None:
        smallest, size = self._scale.sizes[0], len(large.catalogue.product_ids)
        operations_of_small = small.by_name()
        for name, operation in large.by_name().items():
            say(f"{name}, {size} products, beside {smallest}")
            pairs = in_turn(
                self._scale.runs if name == "sync" else self._scale.rounds, operation, operations_of_small[name]
            )
            # The smallest catalogue is measured beside each of the others: all of its measurements count.
            before = self._costs[name].get(smallest, Spread([])).values
            self._costs[name][smallest] = Spread([*before, *pairs.second.values])
            self._costs[name][size] = pairs.first
            self._ratios[name] = pairs.ratio()

    def _bytes(self, catalogue: Catalogue, size: int) -> None:
        parts = []
        for table in _TABLES:
            ((size_, rows),) = catalogue.query(_SIZE.format(table))
            if rows:
                parts.append(f"{table} {size_ / rows:.0f}")
        ((whole,),) = catalogue.query("SELECT pg_database_size(current_database())")
        print(
            f"{size:,} products, bytes per row with indexes: {', '.join(parts)}; database {whole / size:.0f} by product"
        )

    def _print(self, operations: Operations) -> None:
        cpu, postgresql_cpu = (Spread(values) for values in zip(*operations.cpu, strict=True))
        operations.catalogue.execute("VACUUM ANALYZE changes")
        ((bytes_, rows),) = operations.catalogue.query(_SIZE.format("changes"))
        print(
            f"{len(operations.catalogue.product_ids):,} products, sync per product: CPU {cpu} ms, "
            f"PostgreSQL's {postgresql_cpu} ms, WAL {Spread(operations.wal)} bytes; "
            f"changes {bytes_ / rows:.0f} bytes per row of {rows}"
        )


def as_svg(costs: Mapping[str, Mapping[int, Spread]]) -> str:
    """Draw the medians over the logarithm of the number of products."""
    left, top, width, height, beside = 50, 40, 520, 300, 160
    sizes = sorted(next(iter(costs.values())))
    most = max(spread.median for by_size in costs.values() for spread in by_size.values())
    step = 10 ** math.floor(math.log10(most)) / 2
    ceiling = math.ceil(most / step) * step

    def at(size: int, milliseconds: float) -> tuple[float, float]:
        share = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
        return left + share * width, top + height - milliseconds / ceiling * height

    lines = ['<text x="0" y="16" font-weight="bold">Cost of an operation, in ms, by products in the catalogue</text>']
    for number in range(round(ceiling / step) + 1):
        y = at(sizes[0], number * step)[1]
        lines += [
            f'<path d="M{left} {y:.1f}h{width}" stroke="#ddd"/>',
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:g}</text>',
        ]
    for size in sizes:
        x = at(size, 0)[0]
        lines.append(f'<text x="{x:.1f}" y="{top + height + 20}" text-anchor="middle">{size:,}</text>')
    colours = ("#4878a8", "#d07030", "#50a060", "#b04860", "#8060a8", "#808030")
    # From the lowest to the highest line, so that labels do not overlap.
    last, low, right = sizes[-1], math.inf, left + width + 10
    for (name, by_size), colour in zip(
        sorted(costs.items(), key=lambda item: item[1][last].median), colours, strict=True
    ):
        points = [at(size, by_size[size].median) for size in sizes]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        low = min(points[-1][1] + 4, low - 16)
        lines += [
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points),
            f'<text x="{right}" y="{low:.1f}" fill="{colour}">{escape(name)} {by_size[last].median:.3g}</text>',
        ]
    size_ = f'width="{left + width + beside}" height="{top + height + 30}"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size_} font-family="sans-serif" font-size="13">\n{background}\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="few products, to check that it works")
    parser.add_argument("--picture", type=Path, help="file for a picture of the costs by the number of products (SVG)")
    parser.add_argument("--sizes", type=int, nargs="+", help="other numbers of products, the smallest first")
    options = parser.parse_args()
    targets = Targets()
    chosen: dict[str, Any] = {"sizes": options.sizes} if options.sizes else {}
    scale = _QUICK if options.quick else Scale(**chosen)
    with harness.postgresql() as server, Upstream() as upstream:
        print(harness.machine(server))
        costs = Benchmark(server, upstream, scale, targets).run()
    if options.picture:
        options.picture.write_text(as_svg(costs), "utf-8")
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
