"""The speed of a sync run: `python -m benchmarks.sync`, or `make bench-sync`. README.md has the results.

Sync runs and the floor (sync_floor.py) are measured in turn, against the same Offers service, so that other load on the
machine affects both. `--strict` exits with 1 if a target is missed; `--quick` only shows that the benchmark works.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from benchmarks import harness
from benchmarks.catalogue import WORKERS, Catalogue, run_sync
from benchmarks.harness import Pairs, Recorder, Spread, Targets, in_turn, say, timed
from benchmarks.sync_floor import Floor
from benchmarks.sync_profile import as_svg, as_text, parts_of_a_run
from benchmarks.upstream import Upstream

_LATENCY_SECONDS = 0.02
# A run that finds no changes may write these: the schedule, the run's own row, the shared token.
_SCHEDULE = {"product_sources", "sync_runs", "upstream_tokens"}
# Only flushed WAL can be inspected, and a server may be configured to flush after the commit.
_FLUSH_WAL = "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'benchmark', 'flush')"
# Bytes of WAL by table and index, in the catalogue's schema only.
_WAL_BY_RELATION = """
SELECT coalesce(owner.relname, class.relname), class.relname, sum(record_length)::int
FROM pg_get_wal_block_info(%s, %s, false) AS block
JOIN pg_class AS class ON pg_relation_filenode(class.oid) = block.relfilenode
LEFT JOIN pg_index ON pg_index.indexrelid = class.oid
LEFT JOIN pg_class AS owner ON owner.oid = pg_index.indrelid
WHERE class.relnamespace = 'public'::regnamespace AND block.block_id = 0
AND block.reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1, 2
ORDER BY 3 DESC
"""


@dataclass(frozen=True)
class Scale:
    """The sizes of the three catalogues, the number of products where some are enough, and the rounds."""

    small: int = 1_000
    medium: int = 10_000
    large: int = 100_000
    some: int = 2_000
    rounds: int = 5
    long_rounds: int = 3


_QUICK = Scale(small=50, medium=100, large=200, some=50, rounds=1, long_rounds=1)


class Benchmark:
    """The measurements. Each prints its figures and adds its targets."""

    def __init__(self, server: str, upstream: Upstream, scale: Scale, targets: Targets) -> None:
        self._server = server
        self._upstream = upstream
        self._scale = scale
        self._targets = targets

    def run(self, picture: Path | None) -> None:
        with self._catalogue("small", self._scale.small) as small:
            self._process(small)
            self._run_time("1000", small, 1.5)
            with self._latency():
                self._run_time("latency-20ms", small, 1.2)
            self._unchanged(small)
            with self._catalogue("large", self._scale.large) as large:
                # First, because it writes every page: full-page writes after a checkpoint would count as cost later.
                self._memory(small, large)
                # With latency: otherwise the fetching threads slow down the measured thread.
                with self._latency():
                    self._cost_at_scale(small, large)
                self._plans(large)
        with self._catalogue("medium", self._scale.medium) as medium:
            self._run_time("10000", medium, 1.3)
            self._statements(medium)
            with self._latency():
                self._two_processes(medium)
            self._profile(medium, picture)

    @contextmanager
    def _catalogue(self, name: str, size: int) -> Iterator[Catalogue]:
        say(f"a catalogue of {size} products")
        with harness.database(self._server, name) as url:
            catalogue = Catalogue(url, self._upstream, size)
            yield catalogue
            catalogue.close()

    @contextmanager
    def _latency(self) -> Iterator[None]:
        self._upstream.set_latency(_LATENCY_SECONDS)
        yield
        self._upstream.set_latency(0)

    def _beside_the_floor(self, catalogue: Catalogue, run: Callable[[], object]) -> Pairs:
        """Return the seconds of sync runs and of the floor. Each finds 30 % of the offers changed."""
        connection = psycopg2.connect(catalogue.url)
        floor = Floor(connection, catalogue.base_url, WORKERS)

        def ours() -> float:
            catalogue.make_due()
            seconds = timed(run)
            catalogue.check()
            return seconds

        def theirs() -> float:
            catalogue.vacuum("floor_offers")
            return timed(lambda: floor.run(catalogue.product_ids))

        # A long run needs no warm-up.
        is_long = len(catalogue.product_ids) > self._scale.small
        rounds, warm_up = (self._scale.long_rounds, 0) if is_long else (self._scale.rounds, 1)
        try:
            return in_turn(rounds, ours, theirs, before=self._upstream.advance, warm_up=warm_up)
        finally:
            connection.close()

    def _process(self, catalogue: Catalogue) -> None:
        say("`productagg sync` from exec to exit, beside the floor")
        start = Spread([timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(10)])
        pairs = self._beside_the_floor(catalogue, catalogue.run_command)
        ratio = pairs.ratio(less=start.median)
        print(
            f"process, {len(catalogue.product_ids)} products: {pairs.first} s, floor {pairs.second} s, "
            f"interpreter start {start} s, process less start by floor {ratio}"
        )
        self._targets.at_most("sync-process-1000", ratio.median, 2.0)

    def _run_time(self, name: str, catalogue: Catalogue, limit: float) -> None:
        products = len(catalogue.product_ids)
        say(f"a run over {products} products, upstream latency {self._upstream.latency} s, beside the floor")
        with catalogue.synchronizer() as synchronizer:
            pairs = self._beside_the_floor(catalogue, synchronizer.run)
        print(f"run {name}, {products} products: {pairs.first} s, floor {pairs.second} s, by floor {pairs.ratio()}")
        self._targets.at_most(f"sync-run-{name}", pairs.ratio().median, limit)

    def _unchanged(self, catalogue: Catalogue) -> None:
        say("a run without changes")
        catalogue.execute("CREATE EXTENSION pg_walinspect")
        for when in ("warm-up", "right after a checkpoint", "between checkpoints"):
            catalogue.make_due()
            if when == "right after a checkpoint":
                catalogue.execute("CHECKPOINT")
            ((before,),) = catalogue.query("SELECT pg_current_wal_insert_lsn()")
            with catalogue.synchronizer() as synchronizer:
                synchronizer.run()
            catalogue.check()
            ((after, written),) = catalogue.query(
                "SELECT lsn, lsn - %s FROM pg_current_wal_insert_lsn() AS lsn", before
            )
            catalogue.execute(_FLUSH_WAL)
            products = len(catalogue.product_ids)
            relations = catalogue.query(_WAL_BY_RELATION, before, after)
            by_relation = ", ".join(f"{name} {size / products:.0f}" for _, name, size in relations)
            print(f"nothing changed, {when}: {written / products:.0f} bytes of WAL per product; {by_relation}")
        others = sum(size for table, _, size in relations if table not in _SCHEDULE)
        self._targets.at_most("sync-unchanged-other-wal-bytes", others / products, 0)
        self._targets.at_most("sync-unchanged-wal-bytes", float(written / products), 500)

    def _recorded(self, catalogue: Catalogue, count: int, *, explain: bool = False) -> Recorder:
        """Record a run over so many products, of whose offers 30 % changed."""
        self._upstream.advance()
        catalogue.make_due(count)
        with catalogue.recorded_synchronizer(explain=explain) as (synchronizer, recorder):
            synchronizer.run()
        catalogue.check()
        return recorder

    def _cost_at_scale(self, small: Catalogue, large: Catalogue) -> None:
        count = self._scale.small
        say(f"leasing and reconciling {count} of {len(large.product_ids)} products, beside {count} of {count}")

        def cost(catalogue: Catalogue) -> float:
            """Milliseconds per product, of the transactions alone."""
            transactions = self._recorded(catalogue, count).transactions
            return sum(transaction.seconds for transaction in transactions) / count * 1000

        pairs = in_turn(self._scale.rounds, lambda: cost(large), lambda: cost(small))
        print(
            f"lease and reconcile {count} of {len(large.product_ids)}: {pairs.first} ms per product, "
            f"of {count}: {pairs.second}, ratio {pairs.ratio()}"
        )
        self._targets.at_most("sync-scale-cost", pairs.ratio().median, 1.2)

    def _plans(self, catalogue: Catalogue) -> None:
        say("how the tables are read")
        plans = self._recorded(catalogue, self._scale.small, explain=True).plans
        scans = Counter(line for plan in plans.values() for line in harness.scans(plan))
        print(f"how the statements of a run read the tables, with {len(catalogue.product_ids)} products:")
        for line, statements in sorted(scans.items()):
            print(f"  {statements} x {line}")
        # A sequential scan is the fastest way to read an empty table.
        empty = {name for (name,) in catalogue.query("SELECT relname FROM pg_class WHERE relpages = 0")}
        sequential = [
            statement
            for statement, plan in plans.items()
            if not empty.issuperset(re.findall(r"Seq Scan on ((?:product|offer)\w*)", plan))
        ]
        for statement in sequential:
            print(f"sequential scan by {statement[:300]} …")
        self._targets.at_most("sync-scale-sequential-scans", len(sequential), 0)

    def _memory(self, *catalogues: Catalogue) -> None:
        peaks = []
        for catalogue in catalogues:
            products = len(catalogue.product_ids)
            say(f"peak memory of a run over {products} products")
            self._upstream.advance()
            catalogue.make_due()
            with harness.fresh_process() as process:
                seconds, peak = process.submit(run_sync, catalogue.url, catalogue.base_url).result()
            catalogue.check()
            peaks.append(peak)
            print(f"{products} products: {seconds:.3g} s, {products / seconds:.0f} per second, peak {peak:.1f} MB")
        self._targets.at_most("sync-memory-100000", peaks[-1] - peaks[0], 40)

    def _statements(self, catalogue: Catalogue) -> None:
        say("the statements of a run")
        transactions = self._recorded(catalogue, self._scale.some).transactions
        # A batch has the statements about products from one acquisition of leases to the next.
        batches: list[int] = []
        for transaction in transactions:
            if transaction.mentions("SKIP LOCKED"):
                batches.append(0)
            # The beginning of a run looks for sources that have products due.
            if batches and transaction.mentions("product_sources"):
                # PREPARE is sent once per connection.
                batches[-1] += sum(not statement.startswith("PREPARE ") for statement in transaction.statements)
        commits = len(transactions) / self._scale.some * 1000
        print(f"{self._scale.some} products: {len(batches)} batches of leases, {Spread(batches)} statements per batch")
        self._targets.at_most("sync-statements-per-batch", max(batches), 12)
        self._targets.at_most("sync-commits-per-1000", commits, 10)

    def _two_processes(self, catalogue: Catalogue) -> None:
        count = self._scale.some
        say(f"two processes beside one, {count} products")
        with harness.fresh_process() as one, harness.fresh_process() as other:

            def share(*processes: ProcessPoolExecutor) -> float:
                self._upstream.advance()
                catalogue.make_due(count)
                runs = [process.submit(run_sync, catalogue.url, catalogue.base_url) for process in processes]
                seconds = max(run.result()[0] for run in runs)
                catalogue.check()
                return seconds

            pairs = in_turn(self._scale.long_rounds, lambda: share(one), lambda: share(one, other))
        print(f"{count} products, 20 ms: one process {pairs.first} s, two {pairs.second} s, ratio {pairs.ratio()}")
        self._targets.at_least("sync-two-processes", pairs.ratio().median, 1.6)

    def _profile(self, catalogue: Catalogue, picture: Path | None) -> None:
        say("where a run spends its time")
        count = self._scale.some
        self._upstream.advance()
        catalogue.make_due(count)
        with catalogue.recorded_synchronizer() as (synchronizer, recorder):
            seconds = parts_of_a_run(synchronizer.run, recorder)
        parts = {name: value / count * 1_000_000 for name, value in seconds.items()}
        title = "Where a sync run spends its time, by product"
        print(f"{title}:\n{as_text(parts, 'µs')}")
        if picture:
            picture.write_text(as_svg(parts, "µs", title), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--quick", action="store_true", help="few products, to check that it works")
    parser.add_argument("--picture", type=Path, help="file for a picture of where a run spends its time (SVG)")
    options = parser.parse_args()
    targets = Targets()
    with harness.postgresql() as server, Upstream() as upstream:
        print(harness.machine(server))
        Benchmark(server, upstream, _QUICK if options.quick else Scale(), targets).run(options.picture)
    return targets.end(options.strict)


if __name__ == "__main__":
    sys.exit(main())
