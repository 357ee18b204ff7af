"""`productagg sync`: one sync run. cron starts one every minute; people can also sync chosen products."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn
from uuid import UUID

import click
import orjson
from sqlalchemy.orm import Session, sessionmaker

from productagg.catalog import products as catalog
from productagg.cli.bootstrap import CannotRun, config_uri, writing
from productagg.cli.output import printable
from productagg.cli.progress import progress_bar
from productagg.cli.signals import on_signal
from productagg.db.errors import is_unavailable
from productagg.settings import Settings
from productagg.sync.run import Synchronizer
from productagg.sync.run_log import RunResult
from productagg.sync.source_status import SourceNotFound, find

log = logging.getLogger(__name__)

# The members of the `--json` summary, which GET /sync-runs has as well.
_SUMMARY = (
    "started_at",
    "finished_at",
    "leased",
    "fetched",
    "changed",
    "closed",
    "failed",
    "failures",
    "requests",
    "bytes",
    "longest_wait_seconds",
    "ended_by",
    "sources",
    "exit_code",
)


@click.command(short_help="Sync the products that are due.")
@config_uri
@click.option(
    "--product",
    "products",
    metavar="ID",
    type=click.UUID,
    multiple=True,
    help="Sync only this product, due or not. May be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Sync every product and document, due or not.")
@click.option(
    "--source",
    "sources",
    metavar="NAME",
    multiple=True,
    help="Sync only with this source, by name or id. May be repeated.",
)
@click.option(
    "--workers",
    metavar="NUMBER",
    type=click.IntRange(1, 64),
    help="How many requests to send at the same time, instead of SYNC_WORKERS.",
)
@click.option(
    "--budget",
    metavar="SECONDS",
    type=click.IntRange(1, 86400),
    help="How long the run may take, instead of SYNC_BUDGET_SECONDS; products that are left then stay due.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def sync(
    config_uri: str,
    products: Sequence[UUID],
    everything: bool,
    sources: Sequence[str],
    workers: int | None,
    budget: int | None,
    as_json: bool,
) -> None:
    """Make one sync run: ask each source for the products that are due, and record what changed.

    Several runs may work at once. After SIGTERM or Ctrl-C, the run finishes the requests under way and ends. On a
    terminal, a bar shows the progress.

    Exit codes: 0 no failures, 1 some products failed, 2 the run could not start or could not finish. A run that ends
    because its time is up has not failed.
    """
    if products and everything:
        raise click.UsageError("--product and --all cannot be used together")
    with writing(config_uri) as (settings, sessions):
        _refuse_unknown(sessions, products)
        chosen = chosen_sources(sessions, sources)
        settings = _with_options(settings, workers, budget)
        result = run(settings, sessions, products=products or None, everything=everything, sources=chosen)
    end(result, as_json=as_json)


def end(result: RunResult, *, as_json: bool) -> NoReturn:
    """Print the summary of a run, and end the command."""
    click.echo(_json(result) if as_json else f"sync: {printable(str(result))}")
    raise SystemExit(result.exit_code)


def chosen_sources(sessions: sessionmaker[Session], names: Sequence[str]) -> list[UUID] | None:
    """The ids of the sources with these names or ids, None for all; ends the command if a run cannot ask one."""
    if not names:
        return None
    with sessions() as session:
        try:
            found = [find(session, name) for name in names]
        except SourceNotFound as error:
            raise CannotRun(f"there is no source {str(error)!r}") from None
    disabled = next((source.name for source in found if not source.enabled), None)
    if disabled is not None:
        raise CannotRun(f"the source {disabled!r} is disabled")
    return [source.id for source in found]


def _refuse_unknown(sessions: sessionmaker[Session], products: Sequence[UUID]) -> None:
    if not products:
        return
    with sessions() as session:
        unknown = catalog.missing_ids(session, products)
    if unknown:
        raise CannotRun(f"there is no product {', '.join(map(str, unknown))}")


def _with_options(settings: Settings, workers: int | None, budget: int | None) -> Settings:
    if workers is not None:
        settings = replace(settings, sync_workers=workers)
    if budget is not None:
        settings = replace(settings, sync_budget_seconds=budget)
    return settings


def run(settings: Settings, sessions: sessionmaker[Session], **selected: Any) -> RunResult:
    """Make a run, with a progress bar; `selected`: see Synchronizer.run."""
    with Synchronizer(settings, sessions) as synchronizer:
        on_signal(lambda *_: synchronizer.interrupt())
        try:
            with progress_bar(" products") as progress:
                return synchronizer.run(**selected, progress=progress)
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("the sync run crashed")
            raise SystemExit(2) from None


def _json(result: RunResult) -> bytes:
    return orjson.dumps({name: getattr(result, name) for name in _SUMMARY}, option=orjson.OPT_UTC_Z)
