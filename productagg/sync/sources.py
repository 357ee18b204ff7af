"""The sources that a sync run asks, their state as a run needs it, and until when one must not be asked. For the sync.

Every function belongs into one short transaction. The Offers service's own wait is in upstream_tokens: see `tokens`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select, update
from sqlalchemy.orm import Session

from productagg.db import clock
from productagg.db.models import OFFERS_SOURCE, Base, ProductSource, Source

_SOURCES = Base.metadata.tables[Source.__tablename__]


IS_OFFERS_SERVICE_ENABLED = exists().where(Source.id == OFFERS_SOURCE, Source.enabled)


class NoSecret(Exception):
    """The environment variable that a source names is not set."""


@dataclass(frozen=True)
class ActiveSource:
    """An enabled source, as of the beginning of a run."""

    id: UUID
    kind: str
    name: str
    configuration: Mapping[str, Any]
    secret_variable: str | None
    interval_seconds: int | None
    requests_per_second: float | None
    has_work: bool
    """Whether it may be asked now, and has products or a document to ask for."""

    def secret(self) -> str | None:
        """The value of its environment variable. Raises NoSecret."""
        return secret_value(self.secret_variable)


def secret_value(variable: str | None) -> str | None:
    """The value of a source's environment variable, if it has one. Raises NoSecret."""
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise NoSecret(f"the environment variable {variable} is not set")
    return value


def _is_unblocked(now: datetime) -> ColumnElement[bool]:
    return or_(Source.blocked_until.is_(None), Source.blocked_until <= now)


def is_document_due(at: datetime, now: datetime) -> ColumnElement[bool]:
    """Whether a whole document is due, and not leased to another run."""
    return and_(Source.next_sync_at <= at, or_(Source.leased_until.is_(None), Source.leased_until <= now))


def enabled(session: Session, selected: ColumnElement[bool], now: datetime) -> list[ActiveSource]:
    """The enabled sources; `selected` is a condition on ProductSource. The Offers service always has work."""
    has_products = exists().where(ProductSource.source_id == Source.id, selected)
    has_work = or_(has_products, is_document_due(now, now))
    has_work = or_(Source.id == OFFERS_SOURCE, and_(_is_unblocked(now), func.coalesce(has_work, false())))
    columns = [getattr(Source, name) for name in ActiveSource.__dataclass_fields__ if name != "has_work"]
    query = select(*columns, has_work.label("has_work")).where(Source.enabled).order_by(Source.id)
    return [ActiveSource(**row) for row in session.execute(query).mappings()]


def longest_interval(sources: Iterable[ActiveSource]) -> timedelta:
    """The longest interval that a source states; zero if none does."""
    return timedelta(seconds=max((source.interval_seconds or 0 for source in sources), default=0))


def blocked(session: Session, source_id: UUID) -> tuple[datetime, str | None]:
    """The time, and why no request may be sent to the source now, if so: it is blocked, disabled or removed."""
    query = select(Source.enabled, Source.blocked_until, Source.blocked_reason).where(Source.id == source_id)
    row = session.execute(query).one_or_none()
    now = clock.now(session)
    if row is None or not row.enabled:
        return now, "the source was disabled"
    if row.blocked_until is not None and row.blocked_until > now:
        return now, f"{row.blocked_reason}; no requests are sent before {row.blocked_until:%H:%M:%S} UTC"
    return now, None


def block(session: Session, source_id: UUID, wait: timedelta, reason: str) -> None:
    """Keep all processes from asking the source for so long; a block that ends later stays."""
    until = clock.now(session) + wait
    earlier = or_(_SOURCES.c.blocked_until.is_(None), _SOURCES.c.blocked_until < until)
    blocking = update(_SOURCES).where(_SOURCES.c.id == source_id, earlier)
    session.execute(blocking.values(blocked_until=until, blocked_reason=reason))
