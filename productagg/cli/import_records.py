"""A record of an import file, and the product that it describes: the API's rules for products hold here too."""

from datetime import datetime
from typing import Any
from uuid import UUID

from productagg.catalog.batch_creation import NewProduct
from productagg.catalog.import_export import OPTIONAL
from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.record_reader import Format, RecordError, excerpt
from productagg.schema_types import uuid, validate
from productagg.times import parse_record_time

# What a product from another catalogue brings beside the values that an editor gives it.
_KEPT = ("id", "created_at", "updated_at")


def new_product(record: dict[str, Any], form: Format, now: datetime) -> NewProduct:
    """The valid product of a record. Raises RecordError."""
    given = _without_empty(record) if form == "csv" else record
    texts = _texts(given)
    id_ = _id(given.get("id"))
    created_at = _time("created_at", given.get("created_at"), now)
    updated_at = _time("updated_at", given.get("updated_at"), now)
    _check_order(created_at, updated_at, now)
    return NewProduct(**texts, id=id_, created_at=created_at, updated_at=updated_at)


def _without_empty(record: dict[str, Any]) -> dict[str, Any]:
    """The record without empty optional values. CSV has no null: a product without a value has an empty text."""
    return {name: text for name, text in record.items() if text or name not in OPTIONAL}


def _texts(record: dict[str, Any]) -> dict[str, Any]:
    values, faults = validate(NEW_PRODUCT, {name: value for name, value in record.items() if name not in _KEPT})
    if faults:
        raise RecordError("; ".join(f"{name} {fault}" for name, fault in faults.items()))
    return values


def _check_order(created_at: datetime | None, updated_at: datetime | None, now: datetime) -> None:
    if updated_at is not None and updated_at < (created_at or now):
        raise RecordError(f"updated_at is before {'created_at' if created_at else 'now, and created_at is missing'}")


def _id(value: Any) -> UUID | None:
    if value is None:
        return None
    try:
        return uuid(value)
    except (TypeError, ValueError):  # it is no string, or no UUID
        raise RecordError(f"id {excerpt(value)} is not a UUID") from None


def _time(name: str, value: object, now: datetime) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise RecordError(f"{name} is not a time like 2026-01-31T12:00:00Z")
    time = parse_record_time(value)
    if time > now:
        raise RecordError(f"{name} {value} is in the future")
    return time
