"""`productagg user`: the users who can log in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from sqlalchemy.orm import Session

from productagg import text_rules
from productagg.accounts import users
from productagg.cli.bootstrap import config_uri, reading, writing


@click.group()
def user() -> None:
    """Add, change, disable, enable and list the users who can log in."""


def _ask_password() -> str:
    """Ask twice, without echo. An option would put the password into the shell's history and the process list."""
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return _checked(text_rules.valid_password, "the password", password)


def _checked(rule: Callable[[str], str], what: str, text: str) -> str:
    try:
        return rule(text)
    except ValueError as error:
        raise click.ClickException(f"{what} {error}") from None


@user.command()
@config_uri
@click.argument("username")
@click.option("--role", type=click.Choice(["admin", "reader"]), default="admin", show_default=True)
def add(config_uri: str, username: str, role: users.Role) -> None:
    """Add a user; asks for the password."""
    username = _checked(text_rules.valid_username, "the user name", username)
    password = _ask_password()
    with writing(config_uri) as (_, sessions), sessions.begin() as session:
        try:
            users.add(session, username, password, role)
        except users.DuplicateUser:
            raise click.ClickException(f"the user {username!r} already exists") from None
    click.echo(f"user {username!r} has been added with the role {role}")


@user.command()
@config_uri
@click.argument("username")
def passwd(config_uri: str, username: str) -> None:
    """Change a user's password, which ends the user's tokens; asks for the password."""
    password = _ask_password()
    with _existing_user(config_uri, username) as session:
        users.set_password(session, username, password)
    click.echo(f"the password of {username!r} has been changed")


@user.command()
@config_uri
@click.argument("username")
def disable(config_uri: str, username: str) -> None:
    """Lock a user out, and end the user's tokens."""
    with _existing_user(config_uri, username) as session:
        users.disable(session, username)
    click.echo(f"user {username!r} has been disabled")


@user.command()
@config_uri
@click.argument("username")
def enable(config_uri: str, username: str) -> None:
    """Let a disabled user log in again."""
    with _existing_user(config_uri, username) as session:
        users.enable(session, username)
    click.echo(f"user {username!r} has been enabled")


@user.command(name="list")
@config_uri
def list_users(config_uri: str) -> None:
    """List the users: name, role, and whether disabled."""
    with reading(config_uri) as (_, connection), Session(connection) as session:
        for account in users.list_users(session):
            state = "disabled" if account.disabled else "active"
            click.echo(f"{account.username}\t{account.role}\t{state}")


@contextmanager
def _existing_user(uri: str, username: str) -> Iterator[Session]:
    try:
        with writing(uri) as (_, sessions), sessions.begin() as session:
            yield session
    except users.UnknownUser:
        raise click.ClickException(f"there is no user {username!r}") from None
