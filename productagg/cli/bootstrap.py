"""The start of every command: it loads the settings from CONFIG_URI and the environment, and opens the database.

If the settings or the database cannot be used, the command ends with one line and exit code 2, without a traceback.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from productagg import ini, logs
from productagg.db.engines import reader_engine, writer_engine
from productagg.db.errors import driver_message, is_unavailable
from productagg.db.startup_checks import UnusableDatabase, check_currency, check_database
from productagg.settings import Settings, SettingsError

log = logging.getLogger(__name__)

config_uri = click.argument("config_uri", metavar="CONFIG_URI")


class CannotRun(click.ClickException):
    """Ends the command with its message and exit code 2."""

    exit_code = 2


@contextmanager
def writing(uri: str) -> Iterator[tuple[Settings, sessionmaker[Session]]]:
    """The settings, and a factory of sessions with transactions."""
    with _opened(uri, writer_engine) as (settings, engine):
        yield settings, sessionmaker(engine)


@contextmanager
def reading(uri: str) -> Iterator[tuple[Settings, Connection]]:
    """The settings, and a connection that only reads and never blocks a writer."""
    with _opened(uri, reader_engine) as (settings, engine), engine.connect() as connection:
        yield settings, connection


@contextmanager
def _opened(uri: str, make_engine: Callable[..., Engine]) -> Iterator[tuple[Settings, Engine]]:
    try:
        settings = _configure(uri)
        engine = make_engine(settings.database_url, prepared=settings.database_prepared)
        try:
            _check(engine, settings.currency)
            yield settings, engine
        except DBAPIError as error:
            if is_unavailable(error):
                raise _unusable(error) from None
            raise  # any other error of a statement is a bug, and its traceback is needed
        finally:
            engine.dispose()
    except (SettingsError, UnusableDatabase) as error:
        raise CannotRun(str(error)) from None


def _configure(uri: str) -> Settings:
    """Load the settings and set up logging."""
    options = ini.app_settings(uri)
    ini.setup_logging(uri)
    settings = Settings.load(options)
    logs.configure(settings.log_format)
    for warning in ini.unknown_keys(options):
        log.warning(warning)
    return settings


def _check(engine: Engine, currency: str) -> None:
    try:
        check_database(engine)
        check_currency(engine, currency)
    except DBAPIError as error:
        raise _unusable(error) from None


def _unusable(error: DBAPIError) -> CannotRun:
    return CannotRun(f"the database cannot be used: {driver_message(error)}")
