"""`productagg sync`: one pass, as cron starts it every minute; by hand also for chosen products, with a bar."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import click
import orjson
from sqlalchemy.orm import Session, sessionmaker

from productagg.catalog import products as catalog
from productagg.cli.bootstrap import CannotRun, config_uri, writing
from productagg.cli.progress import progress_bar
from productagg.db.engines import is_out_of_reach
from productagg.settings import Settings
from productagg.sync.run import Report, Synchronizer

log = logging.getLogger(__name__)

# What `--json` says of a pass, as GET /sync-runs does.
_SUMMARY = (
    "started_at",
    "finished_at",
    "claimed",
    "fetched",
    "changed",
    "closed",
    "failed",
    "failures",
    "requests",
    "bytes",
    "longest_wait_seconds",
    "ended_by",
    "exit_code",
)


@click.command(short_help="Make one pass over what is due.")
@config_uri
@click.option(
    "--product",
    "products",
    metavar="ID",
    type=click.UUID,
    multiple=True,
    help="Ask for this product now, due or not, and for no others. May be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Ask for every product now, due or not.")
@click.option(
    "--workers",
    metavar="NUMBER",
    type=click.IntRange(1, 64),
    help="How many requests are under way at once, instead of SYNC_WORKERS.",
)
@click.option(
    "--budget",
    metavar="SECONDS",
    type=click.IntRange(1, 86400),
    help="How long the pass may take, instead of SYNC_BUDGET_SECONDS; what is left then stays due.",
)
@click.option("--json", "as_json", is_flag=True, help="Sum up in one JSON object on standard output.")
def sync(
    config_uri: str,
    products: Sequence[UUID],
    everything: bool,
    workers: int | None,
    budget: int | None,
    as_json: bool,
) -> None:
    """Make one pass: ask the Offers service for what is due, and record what changed.

    Any number of passes may run at once. SIGTERM and Ctrl-C end the pass after what is under way. On a terminal, a bar
    shows the progress.

    Exit codes: 0 all well, 1 some products failed, 2 the pass could not run, or not to its end. The end of its time is
    a good end.
    """
    if products and everything:
        raise click.UsageError("--product and --all exclude each other")
    with writing(config_uri) as (settings, sessions):
        _refuse_unknown(sessions, products)
        report = _pass(_with_options(settings, workers, budget), sessions, products, everything)
    click.echo(_json(report) if as_json else f"sync: {report}")
    raise SystemExit(report.exit_code)


def _refuse_unknown(sessions: sessionmaker[Session], products: Sequence[UUID]) -> None:
    if products:
        with sessions() as session:
            unknown = catalog.missing_ids(session, products)
        if unknown:
            raise CannotRun(f"there is no product {', '.join(str(each) for each in unknown)}")


def _with_options(settings: Settings, workers: int | None, budget: int | None) -> Settings:
    given = {"sync_workers": workers, "sync_budget_seconds": budget}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(settings, **changes)


def _pass(settings: Settings, sessions: sessionmaker[Session], products: Sequence[UUID], everything: bool) -> Report:
    with Synchronizer(settings, sessions) as synchronizer:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: synchronizer.interrupt())
        try:
            with progress_bar(" products") as progress:
                return synchronizer.run(products=products or None, everything=everything, progress=progress)
        except Exception as error:
            if is_out_of_reach(error):
                raise
            log.exception("the pass crashed")
            raise SystemExit(2) from None


def _json(report: Report) -> bytes:
    return orjson.dumps({name: getattr(report, name) for name in _SUMMARY}, option=orjson.OPT_UTC_Z)
