"""Users, failed logins, and requests under an Idempotency-Key."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from productagg.db.models.base import Base


class User(Base):
    """A user who can log in. Tokens carry the generation: increasing it ends all tokens issued before."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('admin', 'reader')", name="role_known"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    username: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    disabled: Mapped[bool]
    token_generation: Mapped[int]


class LoginCounter(Base):
    """A counter or a remembered address of the login throttle, valid until `expires_at`."""

    __tablename__ = "login_counters"

    key: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class IdempotencyKey(Base):
    """A user's request under an Idempotency-Key, identified by its fingerprint, and the response to it.

    While the request is being handled, `leased_until` is set and there is no response; afterwards it is the other way
    round. As in ProductSource, `leased_until` proves who holds the lease.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint(
            "(leased_until IS NULL) = (status IS NOT NULL) AND (status IS NULL) = (headers IS NULL) "
            "AND (status IS NULL) = (body IS NULL)",
            name="leased_or_answered",
        ),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
    leased_until: Mapped[datetime | None]
    status: Mapped[int | None]
    headers: Mapped[list[list[str]] | None] = mapped_column(JSON(none_as_null=True))
    body: Mapped[bytes | None]
