"""Users, roles and password hashes. Called by the API's login, the security policy and `productagg user`.

Takes a session and plain values; `texts` says what they may be. Names and passwords are brought into the Unicode form
NFC, because keyboards differ in the form they send. Passwords are hashed with argon2id (argon2-cffi's defaults, RFC
9106's second recommendation) and never stored, logged or returned.
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

_ACTIVE = select(User.username, User.role).where(
    User.id == bindparam("user_id", type_=Uuid),
    User.token_generation == bindparam("token_generation", type_=Integer),
    User.disabled.is_(False),
)
password_hasher = PasswordHasher()
# What an unknown user's password is compared with, so that the answer takes as long as for a known one. Made with the
# same parameters as a real one (a test checks it); written down so that start-up need not compute it.
UNKNOWN_USER_HASH = "$argon2id$v=19$m=65536,t=3,p=4$o44aQos/NKRmyAydEYg2Wg$w1Z94Ln1BP8iFBLpPv9RtDZ0CnK9Nw/r3044aWnBHxo"


class DuplicateUser(Exception):
    """There is a user of this name."""


class UnknownUser(Exception):
    """There is no user of this name."""


@dataclass(frozen=True)
class Account:
    """Somebody who can log in, as plain values, detached from the database."""

    id: UUID
    username: str
    role: Role
    token_generation: int
    # Set by `authenticate`: the hash was made with the parameters of the past, and `renew_hash` should make it anew.
    hash_is_outdated: bool = field(default=False, compare=False)


def authenticate(connection: Connection | Session, username: str, password: str) -> Account | None:
    """The account, or None for an unknown or disabled user and for a wrong password, in the same time.

    It only reads: verifying takes long, and no lock should be held meanwhile.
    """
    query = select(User.id, User.username, User.role, User.password_hash, User.disabled, User.token_generation)
    user = connection.execute(_named(query, username)).one_or_none()
    hashed = user.password_hash if user else UNKNOWN_USER_HASH
    # Hashes from before passwords were brought into NFC are of the password as it was sent.
    verified = next((form for form in dict.fromkeys((nfc(password), password)) if _verify(hashed, form)), None)
    if user is None or user.disabled or verified is None:
        return None
    outdated = verified != nfc(password) or password_hasher.check_needs_rehash(hashed)
    return Account(user.id, user.username, _role(user.role), user.token_generation, outdated)


def renew_hash(session: Session, account: Account, password: str) -> None:
    """Hash the password that the account was just authenticated with by today's parameters."""
    renewed = password_hasher.hash(nfc(password))
    # Not if the password was changed meanwhile.
    same = update(User).where(User.id == account.id, User.token_generation == account.token_generation)
    session.execute(same.values(password_hash=renewed))


def active(connection: Connection | Session, user_id: UUID, token_generation: int) -> Account | None:
    """The account that a token speaks for; None if it is gone or disabled, or its tokens were ended."""
    found = prepared_statements.row(connection, _ACTIVE, {"user_id": user_id, "token_generation": token_generation})
    return None if found is None else Account(user_id, found[0], _role(found[1]), token_generation)


def add(session: Session, username: str, password: str, role: Role) -> UUID:
    """Add a user. Raises DuplicateUser; the session stays usable."""
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
    """Add an admin if there is no user at all. Several processes may try at once: one succeeds."""
    if session.execute(select(User.id).limit(1)).first() is None:
        with suppress(DuplicateUser):
            add(session, username, password, "admin")


def set_password(session: Session, username: str, password: str) -> None:
    """Change the password and end the tokens given out before. Raises UnknownUser."""
    user = _known(session, username)
    user.password_hash = password_hasher.hash(nfc(password))
    user.token_generation += 1


def disable(session: Session, username: str) -> None:
    """Let the user log in no more, and end their tokens. Raises UnknownUser."""
    user = _known(session, username)
    user.disabled = True
    user.token_generation += 1


def enable(session: Session, username: str) -> None:
    """Let a disabled user log in again. Raises UnknownUser."""
    _known(session, username).disabled = False


def listing(session: Session) -> Sequence[User]:
    """All users by name."""
    return session.scalars(select(User).order_by(User.username)).all()


def _verify(hashed: str, password: str) -> bool:
    try:
        password_hasher.verify(hashed, password)
    except VerificationError:
        return False
    return True


def _named(query: Select[*tuple[Any, ...]], username: str) -> Select[*tuple[Any, ...]]:
    """The user of this name; names from before they were brought into NFC are found as they are."""
    form = nfc(username)
    return query.where(User.username.in_({form, username})).order_by(User.username != form).limit(1)


def _known(session: Session, username: str) -> User:
    user: User | None = session.scalars(_named(select(User), username)).one_or_none()
    if user is None:
        raise UnknownUser(username)
    return user


def _role(text: str) -> Role:
    return "admin" if text == "admin" else "reader"
