"""The `productagg` command: one sync pass for cron, users, the sample catalogue, the sandbox Offers service."""

import configparser
import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files

import click
import plaster
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from productagg import accounts, catalog, logs
from productagg.db import SchemaError, check_schema, is_out_of_reach, writer_engine
from productagg.sandbox.command import sandbox
from productagg.settings import Settings, SettingsError
from productagg.sync import Synchronizer

log = logging.getLogger(__name__)

_SHORTEST_PASSWORD = 8

config_uri = click.argument("config_uri", metavar="CONFIG_URI")


class _CannotRun(click.ClickException):
    """Ends the command with its message and exit code 2."""

    exit_code = 2


@contextmanager
def _sessions(uri: str) -> Iterator[tuple[Settings, sessionmaker[Session]]]:
    """The settings and the database that the ini file and the environment name. What is wrong with them is one line."""
    try:
        plaster.setup_logging(uri)
        ini = plaster.get_settings(uri, "app:main")
    except (plaster.PlasterError, configparser.Error) as error:
        raise _CannotRun(f"{uri}: {_one_line(error)}") from None
    except OSError as error:
        raise _CannotRun(f"{uri}: {error.strerror}") from None
    try:
        settings = Settings.load(ini)
        logs.configure(settings.log_format)
        engine = writer_engine(settings.database_url)
        try:
            with _usable(DBAPIError), engine.connect() as connection:
                check_schema(connection)
            # What goes wrong later and is not the connection's fault is ours: that wants a traceback.
            with _usable(OperationalError):
                yield settings, sessionmaker(engine)
        finally:
            engine.dispose()
    except (SettingsError, SchemaError) as error:
        raise _CannotRun(str(error)) from None


@contextmanager
def _usable(kind: type[DBAPIError]) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not (isinstance(error, kind) or is_out_of_reach(error)):
            raise
        raise _CannotRun(f"the database cannot be used: {_one_line(error.orig)}") from None


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="productagg")
def main() -> None:
    """A product aggregator. CONFIG_URI is the ini file that the web service is started with."""


main.add_command(sandbox)


@main.command()
@config_uri
def sync(config_uri: str) -> None:
    """Make one pass: ask the Offers service for what is due, and record what changed.

    Any number of passes may run at once. SIGTERM and Ctrl-C end the pass after what is under way.

    Exit codes: 0 all well, 1 some products failed, 2 the pass could not run, or not to its end.
    """
    with _sessions(config_uri) as (settings, sessions), Synchronizer(settings, sessions) as synchronizer:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: synchronizer.interrupt())
        try:
            report = synchronizer.run()
        except Exception as error:
            if is_out_of_reach(error):
                raise
            log.exception("the pass crashed")
            raise SystemExit(2) from None
    click.echo(f"sync: {report}")
    raise SystemExit(report.exit_code)


@main.command()
@config_uri
def sample(config_uri: str) -> None:
    """Fill an empty catalogue with sample products; leave any other catalogue alone."""
    products = json.loads(files("productagg").joinpath("sample_catalogue.json").read_text("utf-8"))
    with _sessions(config_uri) as (_, sessions), sessions.begin() as session:
        if not catalog.is_empty(session):
            click.echo("sample: the catalogue has products already")
            return
        for product in products:
            catalog.create(session, product["name"], product["description"], datetime.now(UTC))
    click.echo(f"sample: {len(products)} products added")


@main.group()
def user() -> None:
    """Add, change, disable, enable and list the users who can log in."""


def _ask_password() -> str:
    """Ask twice, without echo. Never an option: its value would stand in the shell's history and the process list."""
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if len(password) < _SHORTEST_PASSWORD:
        raise click.ClickException(f"a password has at least {_SHORTEST_PASSWORD} characters")
    return password


@user.command()
@config_uri
@click.argument("username")
@click.option("--role", type=click.Choice(["admin", "reader"]), default="admin", show_default=True)
def add(config_uri: str, username: str, role: accounts.Role) -> None:
    """Add a user; asks for the password."""
    password = _ask_password()
    with _sessions(config_uri) as (_, sessions), sessions.begin() as session:
        try:
            accounts.add(session, username, password, role)
        except accounts.DuplicateUser:
            raise click.ClickException(f"there is a user {username!r} already") from None
    click.echo(f"user {username!r} added with the role {role}")


@user.command()
@config_uri
@click.argument("username")
def passwd(config_uri: str, username: str) -> None:
    """Change a user's password, which ends the user's tokens; asks for the password."""
    password = _ask_password()
    with _known_user(config_uri, username) as session:
        accounts.set_password(session, username, password)
    click.echo(f"the password of {username!r} is changed")


@user.command()
@config_uri
@click.argument("username")
def disable(config_uri: str, username: str) -> None:
    """Let a user log in no more, and end the user's tokens."""
    with _known_user(config_uri, username) as session:
        accounts.disable(session, username)
    click.echo(f"user {username!r} is disabled")


@user.command()
@config_uri
@click.argument("username")
def enable(config_uri: str, username: str) -> None:
    """Let a disabled user log in again."""
    with _known_user(config_uri, username) as session:
        accounts.enable(session, username)
    click.echo(f"user {username!r} is enabled")


@user.command(name="list")
@config_uri
def list_users(config_uri: str) -> None:
    """List the users: name, role, and whether disabled."""
    with _sessions(config_uri) as (_, sessions), sessions.begin() as session:
        for each in accounts.listing(session):
            click.echo(f"{each.username}\t{each.role}\t{'disabled' if each.disabled else 'active'}")


@contextmanager
def _known_user(uri: str, username: str) -> Iterator[Session]:
    try:
        with _sessions(uri) as (_, sessions), sessions.begin() as session:
            yield session
    except accounts.UnknownUser:
        raise click.ClickException(f"there is no user {username!r}") from None
