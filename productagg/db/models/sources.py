"""The sources of offers, and the state of products at each of them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Uuid,
    case,
    false,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from productagg.db.models.base import Base, Seconds, product_key

REGISTRATIONS = ("pending", "registered", "failed")
# The Offers service of the settings. The migration inserts it, and every product has it.
OFFERS_SOURCE = UUID("00000000-0000-7000-8000-000000000001")


class Source(Base):
    """A place that offers come from. `kind` names its adapter, which `configuration` is for.

    `secret_variable` is the name of an environment variable; its value is never stored. A source without
    `interval_seconds` has that of the settings; one without `requests_per_second` has no limit of its own.

    Until `blocked_until`, no process should send the source any request, for the reason in `blocked_reason`. If the
    source is a whole document, its row also says when to fetch it next, and what became of it; otherwise these columns
    stay empty. `item_count` counts the items of the last complete document, and `unmatched_count` those that
    belong to no product. `fewer_item_count` counts those of a document that has shrunk so much that nothing was closed
    yet. If it `creates_products`, items that belong to no product become products.
    """

    __tablename__ = "sources"
    __table_args__ = (
        CheckConstraint("length(trim(name)) > 0", name="name_not_empty"),
        CheckConstraint("interval_seconds > 0", name="interval_positive"),
        CheckConstraint("requests_per_second > 0", name="requests_positive"),
        CheckConstraint("failures >= 0", name="failures_not_negative"),
        CheckConstraint("version > 0", name="version_positive"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(unique=True)
    configuration: Mapped[dict[str, Any]] = mapped_column(JSON)
    secret_variable: Mapped[str | None]
    interval_seconds: Mapped[int | None]
    requests_per_second: Mapped[float | None] = mapped_column(Seconds)
    enabled: Mapped[bool]
    blocked_until: Mapped[datetime | None]
    blocked_reason: Mapped[str | None]
    next_sync_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    last_asked_at: Mapped[datetime | None]
    last_synced_at: Mapped[datetime | None]
    failures: Mapped[int]
    last_error: Mapped[str | None]
    validators: Mapped[list[str | None] | None] = mapped_column(JSON(none_as_null=True))
    item_count: Mapped[int | None]
    fewer_item_count: Mapped[int | None]
    unmatched_count: Mapped[int | None]
    creates_products: Mapped[bool] = mapped_column(default=False, server_default=false())
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ProductSource(Base):
    """A product's state at one of its sources, and when to fetch its offers there next.

    `locator` says which of the source's products it is; NULL: the one with our product's id. `registration` is NULL at
    a source where products are not registered, and `next_sync_at` at a source that is a whole document: that is
    scheduled as one.

    Apart from the product, because it is written every minute. `leased_until` is the end of the current worker's lease
    and also proves who holds it: a later lease writes a later time, and a worker that finds another time than its own
    has lost the lease.
    """

    __tablename__ = "product_sources"
    __table_args__ = (
        CheckConstraint("registration IN ('pending', 'registered', 'failed')", name="registration_known"),
        CheckConstraint("failures >= 0", name="failures_not_negative"),
        # What is due at one source, the longest due first.
        Index(None, "source_id", "next_sync_at"),
        # The items of a document are looked up by their locators.
        Index(
            "ix_product_sources_locator",
            "source_id",
            "locator",
            postgresql_where=text("locator IS NOT NULL"),
            sqlite_where=text("locator IS NOT NULL"),
        ),
    )

    product_id: Mapped[UUID] = product_key()
    source_id: Mapped[UUID] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    locator: Mapped[str | None]
    registration: Mapped[str | None]
    registered_at: Mapped[datetime | None]
    next_sync_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    last_asked_at: Mapped[datetime | None]
    last_synced_at: Mapped[datetime | None]
    last_changed_at: Mapped[datetime | None]
    failures: Mapped[int]
    last_error: Mapped[str | None]
    validators: Mapped[list[str | None] | None] = mapped_column(JSON(none_as_null=True))


class UnmatchedItem(Base):
    """An item of a source's newest complete document that belongs to no product, and why.

    The first items only, in the order of the document: see sync/unmatched_items.py. `price` is in minor units of
    `currency`.
    """

    __tablename__ = "unmatched_items"
    __table_args__ = (
        CheckConstraint(
            "reason IN ('no_gtin', 'gtin_unknown', 'no_name', 'name_refused', 'name_taken')", name="reason_known"
        ),
    )

    source_id: Mapped[UUID] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    locator: Mapped[str]
    name: Mapped[str | None]
    gtin: Mapped[str | None]
    brand: Mapped[str | None]
    price: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    url: Mapped[str | None]
    reason: Mapped[str]


# In the text of a statement, so that the planner sees it. Both databases read 32 digits as a UUID.
OFFERS_SOURCE_LITERAL = literal_column(f"'{OFFERS_SOURCE.hex}'", Uuid)
# When the source last listed the product. A document that has not changed since lists the same products again.
LAST_OBSERVED_AT = case(
    (Source.last_synced_at > ProductSource.last_synced_at, Source.last_synced_at), else_=ProductSource.last_synced_at
)
AT_OFFERS_SERVICE = ProductSource.source_id == OFFERS_SOURCE_LITERAL
