"""Users, roles and password hashes. Called by the API's login, the security policy and `productagg user`.

The functions take a session and plain values, which `text_rules` validates. They convert names and passwords to the
Unicode form NFC, because keyboards differ in the form that they send. Passwords are hashed with argon2id (argon2-cffi's
defaults, RFC 9106's second recommendation) and never stored, logged or returned.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Connection, Integer, Select, Uuid, bindparam, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from productagg.db import prepared_statements
from productagg.db.models import User
from productagg.text_rules import nfc

Role = Literal["admin", "reader"]

_ACCOUNT_OF_TOKEN = select(User.username, User.role).where(
    User.id == bindparam("user_id", type_=Uuid),
    User.token_generation == bindparam("token_generation", type_=Integer),
    User.disabled.is_(False),
)
password_hasher = PasswordHasher()
# The password of an unknown user is verified against this hash, so that the response takes as long as for a known user.
# It has the parameters of a real hash (a test checks it). A constant, because computing it would delay every start.
UNKNOWN_USER_HASH = "$argon2id$v=19$m=65536,t=3,p=4$o44aQos/NKRmyAydEYg2Wg$w1Z94Ln1BP8iFBLpPv9RtDZ0CnK9Nw/r3044aWnBHxo"


class DuplicateUser(Exception):
    """A user of this name exists."""


class UnknownUser(Exception):
    """No user has this name."""


@dataclass(frozen=True)
class Account:
    """A user who can log in, as plain values that are detached from the database."""

    id: UUID
    username: str
    role: Role
    token_generation: int
    # Set by `authenticate`: the hash has other parameters than today's, and the caller should call `renew_hash`.
    hash_is_outdated: bool = field(default=False, compare=False)


def authenticate(connection: Connection | Session, username: str, password: str) -> Account | None:
    """Return the account, or None for an unknown or disabled user and for a wrong password, after the same time.

    This only reads: verifying a password takes long, and no lock should be held meanwhile.
    """
    query = select(User.id, User.username, User.role, User.password_hash, User.disabled, User.token_generation)
    user = connection.execute(_by_username(query, username)).one_or_none()
    password_hash = user.password_hash if user else UNKNOWN_USER_HASH
    # Old hashes are of the password as it was sent: passwords were not converted to NFC then.
    forms = dict.fromkeys((nfc(password), password))
    verified_form = next((form for form in forms if _is_password(form, password_hash)), None)
    if user is None or user.disabled or verified_form is None:
        return None
    is_outdated = verified_form != nfc(password) or password_hasher.check_needs_rehash(password_hash)
    return Account(user.id, user.username, _role(user.role), user.token_generation, is_outdated)


def renew_hash(session: Session, account: Account, password: str) -> None:
    """Hash the password with today's parameters. The account was authenticated with it just before."""
    renewed = password_hasher.hash(nfc(password))
    # The generation differs if the password was changed meanwhile.
    unchanged = update(User).where(User.id == account.id, User.token_generation == account.token_generation)
    session.execute(unchanged.values(password_hash=renewed))


def account_of_token(connection: Connection | Session, user_id: UUID, token_generation: int) -> Account | None:
    """Return the account of a token, or None if the account does not exist or is disabled, or its tokens were ended."""
    values = {"user_id": user_id, "token_generation": token_generation}
    row = prepared_statements.row(connection, _ACCOUNT_OF_TOKEN, values)
    if row is None:
        return None
    username, role = row
    return Account(user_id, username, _role(role), token_generation)


def add(session: Session, username: str, password: str, role: Role) -> UUID:
    """Add a user and return the id. Raises DuplicateUser; the session stays usable."""
    user = User(
        id=uuid7(),
        username=nfc(username),
        password_hash=password_hasher.hash(nfc(password)),
        role=role,
        disabled=False,
        token_generation=1,
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError:
        raise DuplicateUser(username) from None
    return user.id


def add_first_admin(session: Session, username: str, password: str) -> None:
    """Add an admin if there is no user yet. If several processes try concurrently, one of them succeeds."""
    if session.execute(select(User.id).limit(1)).first() is None:
        with suppress(DuplicateUser):
            add(session, username, password, "admin")


def set_password(session: Session, username: str, password: str) -> None:
    """Change the password and end all tokens issued so far. Raises UnknownUser."""
    user = _get(session, username)
    user.password_hash = password_hasher.hash(nfc(password))
    user.token_generation += 1


def disable(session: Session, username: str) -> None:
    """Refuse the user's logins from now on, and end all tokens issued so far. Raises UnknownUser."""
    user = _get(session, username)
    user.disabled = True
    user.token_generation += 1


def enable(session: Session, username: str) -> None:
    """Let a disabled user log in again. Raises UnknownUser."""
    _get(session, username).disabled = False


def list_users(session: Session) -> Sequence[User]:
    """Return all users, sorted by name."""
    return session.scalars(select(User).order_by(User.username)).all()


def _is_password(password: str, password_hash: str) -> bool:
    try:
        password_hasher.verify(password_hash, password)
    except VerificationError:
        return False
    return True


def _by_username(query: Select[*tuple[Any, ...]], username: str) -> Select[*tuple[Any, ...]]:
    """Restrict a query to the user of this name, in NFC or, for names stored before they were converted, as given."""
    normalized = nfc(username)
    return query.where(User.username.in_({normalized, username})).order_by(User.username != normalized).limit(1)


def _get(session: Session, username: str) -> User:
    user: User | None = session.scalars(_by_username(select(User), username)).one_or_none()
    if user is None:
        raise UnknownUser(username)
    return user


def _role(text: str) -> Role:
    return "admin" if text == "admin" else "reader"
