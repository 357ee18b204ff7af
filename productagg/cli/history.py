"""`productagg history`: compact, export and import the price histories.

Export and import are in a module of their own, which compaction need not load.
"""

import logging
from datetime import datetime, timedelta
from typing import cast

import click
from sqlalchemy.orm import Session, sessionmaker

from productagg.catalog import change_feed
from productagg.cli.bootstrap import CannotRun, config_uri, writing
from productagg.cli.lazy import LazyGroup
from productagg.cli.progress import progress_bar
from productagg.cli.signals import Interrupted, InterruptOnSignal, ignore_signals
from productagg.db import clock
from productagg.db.engines import reader_engine
from productagg.db.errors import is_unavailable
from productagg.history import compaction, partitions
from productagg.sync.schedule import Schedule

log = logging.getLogger(__name__)

_LAZY = {
    "export": "productagg.cli.history_import_export:export_prices",
    "import": "productagg.cli.history_import_export:import_prices",
}


@click.group(cls=LazyGroup, lazy=_LAZY)
def history() -> None:
    """Compact, export and import the price histories."""


@history.command(short_help="Summarise old days and remove expired data.")
@config_uri
def compact(config_uri: str) -> None:
    """Compact whole months that are older than HISTORY_RAW_DAYS.

    A day with many steps becomes one row: its open, close, lowest, highest and mean price, the time in stock and the
    number of changes. Days with few steps keep them.

    Also removes offers that closed more than OFFERS_CLOSED_DAYS ago, and changes older than CHANGES_RAW_DAYS that a
    newer change supersedes.

    Run it once a day. It may run beside sync runs and readers, be killed at any time and run again; it continues where
    it stopped. On a terminal, a bar shows the progress.

    Exit codes: 0 done, 1 another compaction is running, 2 it could not start or could not finish.
    """
    InterruptOnSignal()
    with writing(config_uri) as (settings, sessions):
        engine = reader_engine(settings.database_url, prepared=settings.database_prepared)
        observed_for = Schedule.of(settings).observed_for
        try:
            with progress_bar(" products") as progress, engine.connect() as reader:
                now = clock.now(reader)
                superseded = _compact_changes(sessions, now - timedelta(days=settings.changes_raw_days))
                run = compaction.Compaction(
                    reader,
                    sessions,
                    settings.history_raw_days,
                    observed_for,
                    now,
                    progress,
                    closed_days=settings.offers_closed_days,
                )
                result = run.run()
        except compaction.CompactionRunning as reason:
            raise click.ClickException(f"history: {reason}") from None
        except Interrupted:
            ignore_signals()
            raise CannotRun("history: interrupted; run it again to continue") from None
        except partitions.Locked as reason:
            raise CannotRun(f"history: {reason}") from None
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("the compaction crashed")
            raise SystemExit(2) from None
        finally:
            engine.dispose()
    click.echo(f"history: {result}; {superseded} changes removed")


def _compact_changes(sessions: sessionmaker[Session], before: datetime) -> int:
    """In short transactions, so that readers and writers of the feed need not wait."""
    removed, after = 0, cast(int | None, 0)
    while after is not None:
        with sessions.begin() as session:
            count, after = change_feed.compact(session, after, before)
        removed += count
    return removed
