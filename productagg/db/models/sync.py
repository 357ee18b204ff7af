"""The sync runs, and the access token for the Offers service."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from productagg.db.models.base import Base, Seconds


class SyncRun(Base):
    """A sync run: when, where, what it did and what ended it. `ended_by` is NULL while it runs, or if it was killed.

    `leased` counts leased products, `fetched` complete and valid lists of offers, `changed` products with changed
    offers, `closed` offers that vanished, `failed` products; `failures` counts these by reason. `requests` and `bytes`
    (decompressed bodies) measure the exchanges with the Offers service. `longest_wait_seconds` is how overdue the most
    overdue product was. `sources` has the same counts for each source that was asked (see sync.run_log.SourceRun); NULL
    until the run ends. `lost_after` is NULL from then on; a run that has no end by that time was killed.
    """

    __tablename__ = "sync_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    host: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    leased: Mapped[int]
    fetched: Mapped[int]
    changed: Mapped[int]
    closed: Mapped[int]
    failed: Mapped[int]
    failures: Mapped[dict[str, int]] = mapped_column(JSON)
    requests: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    longest_wait_seconds: Mapped[float] = mapped_column(Seconds)
    ended_by: Mapped[str | None]
    lost_after: Mapped[datetime | None]
    sources: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))


class UpstreamToken(Base):
    """The access token that all processes share, per account (a hash of base URL and refresh token).

    `refreshing_until` is the end of the lease of the process that requests a new token. Until `blocked_until`, no
    process should send the Offers service any request, for the reason in `blocked_reason`.
    """

    __tablename__ = "upstream_tokens"

    account: Mapped[str] = mapped_column(primary_key=True)
    access_token: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    refreshing_until: Mapped[datetime | None]
    blocked_until: Mapped[datetime | None]
    blocked_reason: Mapped[str | None]
