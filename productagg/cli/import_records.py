"""A record of an import file, and the product that it describes: the same rules as for a client."""

from datetime import datetime
from typing import Any
from uuid import UUID

from productagg.catalog.batch_creation import NewProduct
from productagg.catalog.import_export import OPTIONAL
from productagg.catalog.product_schema import NEW_PRODUCT, uuid, validate
from productagg.history.lines import parse_time
from productagg.record_reader import Format, RecordError, excerpt


def new_product(record: dict[str, Any], form: Format, now: datetime) -> NewProduct:
    """The valid product of a record. Raises RecordError."""
    name, description = _texts(record)
    optional = {name: record.get(name) for name in OPTIONAL}
    if form == "csv":
        optional = {name: text or None for name, text in optional.items()}
    id_ = _id(optional["id"])
    created_at, updated_at = _times(optional, now)
    return NewProduct(name, description, id_, created_at, updated_at)


def _texts(record: dict[str, Any]) -> tuple[str, str]:
    values, faults = validate(NEW_PRODUCT, {name: value for name, value in record.items() if name not in OPTIONAL})
    if faults:
        raise RecordError("; ".join(f"{name} {fault}" for name, fault in faults.items()))
    return values["name"], values["description"]


def _times(record: dict[str, Any], now: datetime) -> tuple[datetime | None, datetime | None]:
    """When the product was created and changed; None if the record does not say."""
    created_at, updated_at = (_time(name, record[name], now) for name in ("created_at", "updated_at"))
    if updated_at is not None and updated_at < (created_at or now):
        raise RecordError(f"updated_at is before {'created_at' if created_at else 'now, and created_at is missing'}")
    return created_at, updated_at


def _id(value: object) -> UUID | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return uuid(value)
    except ValueError:
        pass
    raise RecordError(f"id {excerpt(value)} is not a UUID")


def _time(name: str, value: object, now: datetime) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise RecordError(f"{name} is not a time like 2026-01-31T12:00:00Z")
    time = parse_time(value)
    if time > now:
        raise RecordError(f"{name} {value} is in the future")
    return time
