"""Sources and their products, as admins manage them: create, change, remove and list; link and unlink.

Called by the API and the command line. It takes a session (or a connection, to read) and plain values, never commits
and sends no request. A source's row is locked before the rows of its products, as a sync run does.
"""

import re
from collections.abc import Container, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from productagg import text_rules
from productagg.catalog import products
from productagg.db import clock
from productagg.db.models import LAST_OBSERVED_AT, OFFERS_SOURCE, Base, Product, ProductSource, Source
from productagg.offers.reconcile import apply_updates
from productagg.schema_types import validate
from productagg.sources.base import Adapter
from productagg.sources.registry import InvalidConfiguration, load
from productagg.sources.registry import validate as validate_configuration
from productagg.sync.settling import Listing, plan
from productagg.sync.source_schema import LOCATOR_MAX_LENGTH, NEW_SOURCE, SOURCE_CHANGE
from productagg.sync.source_status import Link, SourceNotFound, SourceStatus, find, get, links, listing

__all__ = [
    "FromSettings",
    "HasOffers",
    "InvalidLocator",
    "InvalidSource",
    "Link",
    "NameTaken",
    "NotLinked",
    "SourceNotFound",
    "SourceStatus",
    "StaleSource",
    "UnwantedSource",
    "change",
    "create",
    "find",
    "get",
    "link",
    "links",
    "listing",
    "remove",
    "unlink",
]

_SOURCES = Base.metadata.tables[Source.__tablename__]
_LINKS = Base.metadata.tables[ProductSource.__tablename__]
# How PostgreSQL and SQLite name the constraint.
_NAME_CONSTRAINT = re.compile(r"uq_sources_name|sources\.name")
# What was read with another configuration, or of another item, says nothing about the new one. Without its lease, a
# worker that still reads the old one cannot write.
_READ_ANEW: Mapping[str, Any] = {"validators": None, "leased_until": None, "failures": 0, "last_error": None}


class InvalidSource(ValueError):
    """Values that a source cannot have."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{member}: {fault}" for member, fault in faults.items()))
        self.faults = faults
        """What is wrong, by member."""


class NameTaken(Exception):
    """Another source has this name."""


class HasOffers(Exception):
    """The source has had offers, which belong to it for ever: it can be disabled, but not removed."""


class FromSettings(Exception):
    """The Offers service and its products come from the settings, and cannot be changed like other sources."""


class StaleSource(Exception):
    """The source has changed since the version, or the time, that the caller knows."""


class UnwantedSource(Exception):
    """The source is at a version that the caller does not want to overwrite."""


class NotLinked(Exception):
    """The product does not have this source."""


class InvalidLocator(ValueError):
    """The source's adapter refuses a locator. The message says why, for people."""


def create(
    session: Session,
    *,
    kind: str,
    name: str,
    configuration: Mapping[str, Any],
    secret_variable: str | None = None,
    interval_seconds: int | None = None,
    requests_per_second: float | None = None,
    enabled: bool = True,
) -> UUID:
    """Add a source. A whole document is due at once.

    Raises InvalidSource, AdapterError, InvalidConfiguration and NameTaken; the session stays usable.
    """
    values = _checked(
        NEW_SOURCE,
        {
            "kind": kind,
            "name": name,
            "configuration": configuration,
            "secret_variable": secret_variable,
            "interval_seconds": interval_seconds,
            "requests_per_second": requests_per_second,
            "enabled": enabled,
        },
    )
    adapter = load(kind)
    validate_configuration(adapter, dict(configuration))
    now = clock.now(session)
    source_id = uuid7()
    state = {"next_sync_at": now if adapter.whole_document else None, "failures": 0, "version": 1}
    row = {"id": source_id, "created_at": now, "updated_at": now, **state, **values}
    _write_unique(session, values["name"], _SOURCES.insert().values(row))
    return source_id


def change(
    session: Session,
    source_id: UUID,
    *,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
    merged: bool = False,
    **values: Any,
) -> None:
    """Set the given values; the kind cannot be changed. If the source has them already, nothing changes.

    With `merged`, the configuration is a JSON Merge Patch (RFC 7396) of the one that the source has.

    With another configuration or secret everything is fetched anew, at once. A shorter interval brings the next syncs
    forward. The conditions are those of `products.change`. Raises SourceNotFound, StaleSource, UnwantedSource,
    InvalidSource, AdapterError, InvalidConfiguration, NameTaken and FromSettings.
    """
    source = _locked(session, source_id, versions, other_than, unmodified_since)
    values = _checked(SOURCE_CHANGE, values)
    if merged and "configuration" in values:
        values["configuration"] = _merge(source.configuration, values["configuration"])
    new = {name: value for name, value in values.items() if value != getattr(source, name)}
    if not new:
        return
    if source_id == OFFERS_SOURCE and new.keys() != {"enabled"}:
        raise FromSettings
    if "configuration" in new:
        validate_configuration(load(source.kind), new["configuration"])
    now = clock.now(session)
    # Before the source's own row: see _locked.
    own = _rescheduled(session, source, new, now)
    # A transaction that waited for the lock may have begun before the one that held it.
    updated_at = max(now, source.updated_at + timedelta(microseconds=1))
    row = {**new, **own, "version": source.version + 1, "updated_at": updated_at}
    writing = update(_SOURCES).where(_SOURCES.c.id == source_id).values(row)
    _write_unique(session, new.get("name", source.name), writing)
    session.expire(source)


def remove(
    session: Session,
    source_id: UUID,
    *,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
) -> None:
    """Remove a source that never had an offer, and its links to products; on the same conditions as `change`.

    Raises SourceNotFound, StaleSource, UnwantedSource, FromSettings, HasOffers; after that, the session stays usable.
    """
    _locked(session, source_id, versions, other_than, unmodified_since)
    if source_id == OFFERS_SOURCE:
        raise FromSettings
    try:
        with session.begin_nested():
            session.execute(
                delete(_LINKS)
                .where(_LINKS.c.product_id.in_(_locked_products(source_id)))
                .where(_LINKS.c.source_id == source_id)
            )
            # The constraint finds the offers: an earlier check would race.
            session.execute(delete(_SOURCES).where(_SOURCES.c.id == source_id))
    except IntegrityError:
        raise HasOffers(source_id) from None


def link(session: Session, product_id: UUID, source_id: UUID, locator: str) -> bool:
    """Make the source one of the product's, or change its locator there; returns whether the link is new.

    What is new is due at once. That ends a reading of the whole document that is under way: it may have passed the
    item already. Raises products.NotFound, SourceNotFound, FromSettings, AdapterError and InvalidLocator.
    """
    source = _locked(session, source_id)
    if source_id == OFFERS_SOURCE:
        raise FromSettings
    adapter = load(source.kind)
    locator = checked_locator(adapter, locator)
    # Shared, as a sync run does: the row refers to the product.
    product = select(Product.id).where(Product.id == product_id).with_for_update(read=True, key_share=True)
    if session.scalar(product) is None:
        raise products.NotFound(product_id)
    key = (_LINKS.c.product_id == product_id, _LINKS.c.source_id == source_id)
    old = session.execute(select(_LINKS.c.locator).where(*key).with_for_update()).one_or_none()
    if old is not None and old.locator == locator:
        return False
    now = clock.now(session)
    state = {"locator": locator, "next_sync_at": None if adapter.whole_document else now, **_READ_ANEW}
    if old is None:
        session.execute(_LINKS.insert().values(product_id=product_id, source_id=source_id, **state))
    else:
        session.execute(update(_LINKS).where(*key).values(state))
    if adapter.whole_document:
        # Otherwise a document that has not changed would not be read.
        reading = {"validators": None, "leased_until": None, "next_sync_at": now}
        session.execute(update(_SOURCES).where(_SOURCES.c.id == source_id).values(reading))
    return old is None


def unlink(session: Session, product_id: UUID, source_id: UUID, observed_for: timedelta) -> None:
    """Remove the source from the product, and close its offers as an empty list of the source would.

    `observed_for` is how long a product counts as observed: see Schedule. Raises products.NotFound, NotLinked and
    FromSettings.
    """
    if source_id == OFFERS_SOURCE:
        raise FromSettings
    if products.missing_ids(session, [product_id]):
        raise products.NotFound(product_id)
    key = (_LINKS.c.product_id == product_id, _LINKS.c.source_id == source_id)
    observed = select(LAST_OBSERVED_AT).join_from(ProductSource, Source, Source.id == ProductSource.source_id)
    planned = plan(session, [Listing(product_id, source_id, {}, None)], observed_for, also_lock=[product_id])
    # Only now, with the rows locked.
    row = session.execute(observed.where(*_of(product_id, source_id))).one_or_none()
    if row is None:
        raise NotLinked
    last = row[0]
    updates = [change for change in planned.updates.values() if change.difference]
    if updates:
        apply_updates(session, updates)
        last = planned.times[product_id]
    session.execute(delete(_LINKS).where(*key))
    if last is not None:
        _keep_observed(session, product_id, last)


def _of(product_id: UUID, source_id: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return ProductSource.product_id == product_id, ProductSource.source_id == source_id


def _keep_observed(session: Session, product_id: UUID, at: datetime) -> None:
    """The product stays observed until `at`: its rows say so, and that of the Offers service is always there.

    Without it, the history would have a gap from the other sources' last lists on, and its next step might come before
    the last one.
    """
    mine = (_LINKS.c.product_id == product_id, _LINKS.c.source_id == OFFERS_SOURCE)
    earlier = _LINKS.c.last_synced_at.is_(None) | (_LINKS.c.last_synced_at < at)
    session.execute(update(_LINKS).where(*mine, earlier).values(last_synced_at=at))


def _checked(schema: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    checked, faults = validate(schema, values)
    if faults:
        raise InvalidSource(faults)
    try:
        # What cannot be written as JSON again, or is nested so deeply that working on it would overflow the stack.
        orjson.dumps(checked.get("configuration"))
    except TypeError:
        fault = "must be JSON, nested at most 250 levels deep, with whole numbers of at most 64 bits"
        raise InvalidConfiguration({"": fault}) from None
    return checked


def _merge(target: Any, patch: Any) -> Any:
    """The target with a JSON Merge Patch applied: null removes a member."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def checked_locator(adapter: Adapter, locator: str) -> str:
    """The locator in its adapter's normal form. Raises InvalidLocator."""
    try:
        locator = adapter.check_locator(locator)
    except ValueError as error:
        raise InvalidLocator(str(error)) from None
    if text_rules.has_control(locator) or not 0 < len(locator) <= LOCATOR_MAX_LENGTH:
        raise InvalidLocator(f"It must have 1 to {LOCATOR_MAX_LENGTH} characters, and no control characters.")
    return locator


def _locked(
    session: Session,
    source_id: UUID,
    versions: Container[int] | None = None,
    other_than: Container[int] = (),
    unmodified_since: datetime | None = None,
) -> Source:
    """The source, locked against all but new rows that refer to it. Raises SourceNotFound, StaleSource, UnwantedSource.

    A sync run that inserts such rows holds locks on rows of its products, for which the caller may have to wait.
    """
    query = select(Source).where(Source.id == source_id).with_for_update(key_share=True)
    source = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if source is None:
        raise SourceNotFound(source_id)
    is_stale = versions is not None and source.version not in versions
    if is_stale or (unmodified_since is not None and source.updated_at > unmodified_since):
        raise StaleSource
    if source.version in other_than:
        raise UnwantedSource
    return source


def _locked_products(source_id: UUID) -> Any:
    """The products of a source, their rows locked in the order in which a sync run locks them."""
    mine = select(_LINKS.c.product_id).where(_LINKS.c.source_id == source_id).order_by(_LINKS.c.product_id)
    return select(mine.with_for_update().cte("locked").c.product_id)


def _rescheduled(session: Session, source: Source, new: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Reschedule the source's products as the new values demand; returns what changes in its own row."""
    linked = update(_LINKS).where(_LINKS.c.source_id == source.id)
    linked = linked.where(_LINKS.c.product_id.in_(_locked_products(source.id)))
    of_document = source.next_sync_at is not None
    if new.keys() & {"configuration", "secret_variable"}:
        due_at = None if of_document else now
        session.execute(linked.values(next_sync_at=due_at, **_READ_ANEW))
        block = {"blocked_until": None, "blocked_reason": None}
        return {**_READ_ANEW, **block, "next_sync_at": now if of_document else None}
    if new.get("interval_seconds") is not None:
        latest = now + timedelta(seconds=new["interval_seconds"])
        session.execute(linked.where(_LINKS.c.next_sync_at > latest).values(next_sync_at=latest))
        if of_document and source.next_sync_at is not None and source.next_sync_at > latest:
            return {"next_sync_at": latest}
    return {}


def _write_unique(session: Session, name: str, statement: Any) -> None:
    """Write in a savepoint. The constraint finds a duplicate name: an earlier check would race."""
    try:
        with session.begin_nested():
            session.execute(statement)
    except IntegrityError as error:
        if _NAME_CONSTRAINT.search(str(error.orig)):
            raise NameTaken(name) from None
        raise
