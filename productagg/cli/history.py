"""`productagg history`: roll price histories up and drop what is old, check the roll-ups, export and import histories.

A module per command, as in the package: whoever compacts need not wait for what reads files.
"""

import logging
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from itertools import islice
from typing import Any, NoReturn, cast

import click
from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from productagg.catalog import change_feed
from productagg.catalog import products as catalog
from productagg.cli.bootstrap import CannotRun, config_uri, reading, writing
from productagg.cli.progress import progress_bar
from productagg.db import clock
from productagg.db.engines import reader_engine
from productagg.db.errors import is_unavailable
from productagg.history import compaction, partitions, verification
from productagg.history.rolling import weeks
from productagg.history.steps import DAY
from productagg.sync.schedule import Schedule

log = logging.getLogger(__name__)

_MOST_SHOWN = 20
# Each command's name that is elsewhere, and the function there.
_ELSEWHERE = {"export": "export_prices", "import": "import_prices"}


class _Interrupted(BaseException):
    """SIGTERM, wherever it finds us."""


class _Lazy(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), *_ELSEWHERE]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _ELSEWHERE:
            return super().get_command(context, name)
        command: Any = getattr(import_module("productagg.cli.history_import_export"), _ELSEWHERE[name])
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy)
def history() -> None:
    """Keep, check, export and import the price histories."""


@history.command(short_help="Roll up what is over, drop what is over age.")
@config_uri
def compact(config_uri: str) -> None:
    """Roll up the days that are over, and drop raw rows of whole months that are older than HISTORY_RAW_DAYS.

    Also remove offers that were closed more than OFFERS_CLOSED_DAYS ago, and, of changes older than CHANGES_RAW_DAYS,
    those that newer ones stand for.

    Meant to run once a day, beside passes and readers. It may be killed at any time, and run any number of times; what
    is left, the next run does. On a terminal, a bar shows the progress.

    Exit codes: 0 all well, 1 another one is at work, 2 it could not run, or not to its end.
    """
    signal.signal(signal.SIGTERM, _interrupted)
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
                report = run.run()
        except compaction.Busy as busy:
            raise click.ClickException(f"history: {busy}") from None
        except _Interrupted:
            raise CannotRun("history: interrupted; the next run goes on") from None
        except (compaction.Inconsistent, partitions.Locked) as reason:
            raise CannotRun(f"history: {reason}") from None
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("the compaction crashed")
            raise SystemExit(2) from None
        finally:
            engine.dispose()
    click.echo(f"history: {report}; {superseded} changes removed")


def _compact_changes(sessions: sessionmaker[Session], before: datetime) -> int:
    """In short transactions, which are in no feed reader's or writer's way."""
    removed, after = 0, cast(int | None, 0)
    while after is not None:
        with sessions.begin() as session:
            count, after = change_feed.compact(session, after, before)
        removed += count
    return removed


def _interrupted(*_: object) -> NoReturn:
    raise _Interrupted


@history.command(short_help="Compare the roll-ups with the raw rows.")
@config_uri
def verify(config_uri: str) -> None:
    """Roll up all days again whose raw rows are there, and compare with what is stored. Changes nothing.

    Shows the first differences. `productagg history compact` must not be at work meanwhile. On a terminal, a bar shows
    the progress.

    Exit codes: 0 no difference, 1 there are some, 2 it could not run.
    """
    with reading(config_uri) as (_, connection):
        begin, end = verification.rolled_up_days(connection)
        with progress_bar(" products") as progress:
            tell = _counter(connection, len(list(weeks(begin, end))), progress) if progress is not None else None
            found = list(islice(verification.differences(connection, begin, end, tell), _MOST_SHOWN + 1))
    for each in found[:_MOST_SHOWN]:
        click.echo(f"history: {each}")
    if len(found) > _MOST_SHOWN:
        click.echo(f"history: there are more than these {_MOST_SHOWN} differences")
    if found:
        raise SystemExit(1)
    click.echo(f"history: {(end - begin) // DAY} days are rolled up as the raw rows say")


def _counter(connection: Connection, times: int, progress: Callable[[int, int], None]) -> Callable[[int], None]:
    """Adds up the products done."""
    total = times * catalog.count(connection)
    done = 0

    def add(products: int) -> None:
        nonlocal done
        done += products
        progress(done, max(done, total))

    return add
