"""What the commands start with: the settings and the database that CONFIG_URI and the environment name.

What is wrong with them ends the command with one line and exit code 2, and never with a traceback.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from productagg import ini, logs
from productagg.db import SchemaError, check_schema, is_out_of_reach, reader_engine, writer_engine
from productagg.settings import Settings, SettingsError

log = logging.getLogger(__name__)

config_uri = click.argument("config_uri", metavar="CONFIG_URI")


class CannotRun(click.ClickException):
    """Ends the command with its message and exit code 2."""

    exit_code = 2


@contextmanager
def writing(uri: str) -> Iterator[tuple[Settings, sessionmaker[Session]]]:
    """The settings, and sessions with transactions."""
    with _opened(uri, writer_engine) as (settings, engine):
        yield settings, sessionmaker(engine)


@contextmanager
def reading(uri: str) -> Iterator[tuple[Settings, Connection]]:
    """The settings, and a connection that only reads and stands in no writer's way."""
    with _opened(uri, reader_engine) as (settings, engine), engine.connect() as connection:
        yield settings, connection


@contextmanager
def _opened(uri: str, make_engine: Callable[[URL], Engine]) -> Iterator[tuple[Settings, Engine]]:
    try:
        options = ini.app_settings(uri)
        ini.setup_logging(uri)
        settings = Settings.load(options)
        logs.configure(settings.log_format)
        for warning in ini.unknown_keys(options):
            log.warning(warning)
        engine = make_engine(settings.database_url)
        try:
            with _usable(DBAPIError), engine.connect() as connection:
                check_schema(connection)
            # What goes wrong later and is not the connection's fault is ours: that wants a traceback.
            with _usable(OperationalError):
                yield settings, engine
        finally:
            engine.dispose()
    except (SettingsError, SchemaError) as error:
        raise CannotRun(str(error)) from None


@contextmanager
def _usable(kind: type[DBAPIError]) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not (isinstance(error, kind) or is_out_of_reach(error)):
            raise
        raise CannotRun(f"the database cannot be used: {_one_line(error.orig)}") from None


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
