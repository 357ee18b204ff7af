"""The tables. The migrations in alembic/ create them; CI checks that models and migrations agree.

The key of every per-product table begins with product_id: one product's rows lie together and no second index is
needed. There are no ORM relationships: queries select what they need, and the database cascades a product's removal.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    Text,
    TypeDecorator,
    cast,
    text,
    type_coerce,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

# The migration that creates these tables. The programs refuse to run on any other (see startup_checks.check_schema).
SCHEMA_REVISION = "0001"

NAME_MAX_LENGTH = 200
DESCRIPTION_MAX_LENGTH = 10_000
REGISTRATIONS = ("pending", "registered", "failed")


class UtcDateTime(TypeDecorator[datetime]):
    """A time-zone-aware time, always UTC. SQLite has no time zones: there a naive time in UTC is stored."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time must not be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class _Seconds(TypeDecorator[float]):
    """A number of seconds. The cast keeps the last digits, which a low `extra_float_digits` would cut off."""

    impl = Double
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return type_coerce(cast(column, Numeric), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        return None if value is None else float(value)


# Compared by code points, as on SQLite, and not by the database's locale.
_BY_CODE_POINTS = Text().with_variant(Text(collation="C"), "postgresql")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, int: Integer, str: Text}  # noqa: RUF012 - SQLAlchemy's declaration


def _product_key(**options: Any) -> Any:
    return mapped_column(ForeignKey("products.id", ondelete="CASCADE"), primary_key=True, **options)


class Product(Base):
    """A product of the catalogue. `id` is a UUIDv7, so id order is creation order; `version` counts its changes.

    `search_text` and `sort_name` are derived from the name and the description whenever these are written (see
    catalog/search_text.py).
    """

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("length(trim(name)) > 0", name="name_not_empty"),
        CheckConstraint("version > 0", name="version_positive"),
        Index(None, "sort_name", "id"),
        Index(None, "created_at", "id"),
        Index(None, "updated_at", "id"),
        # Trigrams find a word anywhere in the text.
        Index(
            "ix_products_search_text",
            "search_text",
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
            info={"only": "postgresql"},
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    search_text: Mapped[str]
    sort_name: Mapped[str] = mapped_column(_BY_CODE_POINTS)


class ProductSync(Base):
    """A product's state at the Offers service, and when to fetch its offers next.

    Apart from the product, because it is written every minute. `leased_until` is the end of the current worker's lease
    and also proves who holds it: a later lease writes a later time, and a worker that finds another time than its own
    has lost the lease.
    """

    __tablename__ = "product_sync"
    __table_args__ = (
        CheckConstraint("registration IN ('pending', 'registered', 'failed')", name="registration_known"),
        CheckConstraint("failures >= 0", name="failures_not_negative"),
    )

    product_id: Mapped[UUID] = _product_key()
    registration: Mapped[str]
    registered_at: Mapped[datetime | None]
    next_sync_at: Mapped[datetime] = mapped_column(index=True)
    leased_until: Mapped[datetime | None]
    last_asked_at: Mapped[datetime | None]
    last_synced_at: Mapped[datetime | None]
    last_changed_at: Mapped[datetime | None]
    failures: Mapped[int]
    last_error: Mapped[str | None]


class Offer(Base):
    """An offer as last seen. A sync never deletes an offer: it closes an offer that vanished, with stock 0.

    Compaction removes offers that have been closed for long (see history/closed_offers.py).
    """

    __tablename__ = "offers"
    __table_args__ = (
        CheckConstraint("price >= 0", name="price_not_negative"),
        CheckConstraint("items_in_stock >= 0", name="items_in_stock_not_negative"),
        # Finds the current offers without reading years of closed offers.
        Index(
            "ix_offers_open",
            "product_id",
            postgresql_where=text("closed_at IS NULL"),
            sqlite_where=text("closed_at IS NULL"),
        ),
        # Closed offers in the order in which they closed: for pages of them, and to find those old enough to remove.
        Index(
            "ix_offers_closed",
            "product_id",
            "closed_at",
            "id",
            postgresql_where=text("closed_at IS NOT NULL"),
            sqlite_where=text("closed_at IS NOT NULL"),
        ),
    )

    product_id: Mapped[UUID] = _product_key()
    id: Mapped[UUID] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(BigInteger)
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    first_seen_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class OfferPrice(Base):
    """A step of an offer's history: append-only, a row only when something changed. Closing is a row with stock 0.

    PostgreSQL keeps the steps in monthly partitions, which history/partitions.py creates ahead and drops. Compaction
    moves the steps of old months to OfferPriceDay; every step is in exactly one of the two tables.
    """

    __tablename__ = "offer_prices"
    __table_args__ = (
        CheckConstraint("price >= 0", name="price_not_negative"),
        CheckConstraint("items_in_stock >= 0", name="items_in_stock_not_negative"),
        {"postgresql_partition_by": "RANGE (observed_at)"},
    )

    product_id: Mapped[UUID] = _product_key()
    offer_id: Mapped[UUID] = mapped_column(primary_key=True)
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(BigInteger)
    items_in_stock: Mapped[int] = mapped_column(BigInteger)


class OfferPriceDay(Base):
    """A compacted step of an offer's history. With a `summary` it is the last of a UTC day whose other steps are gone.

    history/buckets.py defines what a summary holds.
    """

    __tablename__ = "offer_price_days"

    product_id: Mapped[UUID] = _product_key()
    offer_id: Mapped[UUID] = mapped_column(primary_key=True)
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(BigInteger)
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    summary: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class ProductPrice(Base):
    """A step of a product's history: append-only, a row only when it changed. NULL prices mean 'sold out'.

    `average` is rounded half up to a whole unit: money is never a float. A row that is not `observed` begins a gap:
    until the next row, the price is unknown. Partitions and compaction: see OfferPrice.
    """

    __tablename__ = "product_prices"
    __table_args__ = (
        CheckConstraint("lowest >= 0", name="lowest_not_negative"),
        CheckConstraint("average >= lowest", name="average_not_below_lowest"),
        CheckConstraint("offers >= 0 AND items_in_stock >= 0", name="counts_not_negative"),
        CheckConstraint(
            "(lowest IS NULL) = (offers = 0) AND (average IS NULL) = (offers = 0)", name="sold_out_is_null"
        ),
        CheckConstraint("observed OR (offers = 0 AND items_in_stock = 0)", name="gap_says_nothing"),
        {"postgresql_partition_by": "RANGE (observed_at)"},
    )

    product_id: Mapped[UUID] = _product_key()
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    average: Mapped[int | None] = mapped_column(BigInteger)
    offers: Mapped[int]
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    observed: Mapped[bool]


class ProductPriceDay(Base):
    """A compacted step of a product's history. With a `summary` it is the last of a UTC day that lost other steps.

    Eight columns: with a ninth, PostgreSQL's NULL bitmap would make every row eight bytes larger. Checks are those of
    ProductPrice, from which every row comes.
    """

    __tablename__ = "product_price_days"

    product_id: Mapped[UUID] = _product_key()
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    average: Mapped[int | None] = mapped_column(BigInteger)
    offers: Mapped[int]
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    observed: Mapped[bool]
    summary: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class HistoryProgress(Base):
    """From when on the histories are complete; NULL: from their beginning. There is one row; the migration made it.

    Every step since `raw_from` is kept as it was, in OfferPrice and ProductPrice; older days may be summed up. Offers
    that were closed before `offers_from` may be removed. Both are the beginning of a UTC day.
    """

    __tablename__ = "history_progress"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    raw_from: Mapped[datetime | None]
    offers_from: Mapped[datetime | None]


class ProductSummary(Base):
    """What a product costs now and what it cost some time ago. The sync maintains it, so that reads search no history.

    Every product has a row. `lowest` to `items_in_stock` are those of its newest price, observed at `observed_at`.
    Without a price they are NULL, and nothing is in stock. `lowest_24h`, `lowest_7d` and `lowest_30d` are the lowest
    prices that long before `compared_at`; NULL if nothing was in stock then, or it is not known. They are looked up
    again at `compare_at`; NULL means not before the product changes.
    """

    __tablename__ = "product_summaries"
    __table_args__ = (Index(None, "lowest", "product_id"), Index(None, "items_in_stock", "product_id"))

    product_id: Mapped[UUID] = _product_key()
    observed_at: Mapped[datetime | None]
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    average: Mapped[int | None] = mapped_column(BigInteger)
    offers: Mapped[int]
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    compared_at: Mapped[datetime | None]
    lowest_24h: Mapped[int | None] = mapped_column(BigInteger)
    lowest_7d: Mapped[int | None] = mapped_column(BigInteger)
    lowest_30d: Mapped[int | None] = mapped_column(BigInteger)
    compare_at: Mapped[datetime | None] = mapped_column(index=True)


class ProductChange(Base):
    """A change of a product, in commit order (see catalog/change_feed.py). It outlives its product.

    A row has the product's sort keys before the change, so that a page can be continued as of an earlier moment:
    `changed` has the old `sort_name`, `updated_at` and `search_text`; `offers` has the old `lowest` (NULL: no price)
    and `items_in_stock` of the summary. `search_text` is removed once no cursor needs it.
    """

    __tablename__ = "changes"
    __table_args__ = (
        CheckConstraint("kind IN ('created', 'changed', 'deleted', 'offers')", name="kind_known"),
        CheckConstraint(
            "(sort_name IS NOT NULL) = (kind = 'changed') AND (updated_at IS NOT NULL) = (kind = 'changed')",
            name="changed_has_before",
        ),
        CheckConstraint(
            "(items_in_stock IS NOT NULL) = (kind = 'offers') AND (lowest IS NULL OR kind = 'offers')",
            name="offers_has_before",
        ),
        Index(None, "product_id", "kind", "sequence"),
        # The few rows of this kind among many of kind 'offers'. SQLite would not use the index.
        Index("ix_changes_changed", "sequence", postgresql_where=text("kind = 'changed'"), info={"only": "postgresql"}),
        # SQLite would otherwise reuse the numbers of removed rows.
        {"sqlite_autoincrement": True},
    )

    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    product_id: Mapped[UUID]
    kind: Mapped[str]
    at: Mapped[datetime]
    sort_name: Mapped[str | None] = mapped_column(_BY_CODE_POINTS)
    updated_at: Mapped[datetime | None]
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    items_in_stock: Mapped[int | None] = mapped_column(BigInteger)
    search_text: Mapped[str | None]


class SyncRun(Base):
    """A sync run: when, where, what it did and what ended it. `ended_by` is NULL while it runs, or if it was killed.

    `claimed` counts leased products, `fetched` complete and valid lists of offers, `changed` products with changed
    offers, `closed` offers that vanished, `failed` products; `failures` counts these by reason. `requests` and `bytes`
    (decompressed bodies) measure the exchanges with the Offers service. `longest_wait_seconds` is how overdue the most
    overdue product was.
    """

    __tablename__ = "sync_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    host: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    claimed: Mapped[int]
    fetched: Mapped[int]
    changed: Mapped[int]
    closed: Mapped[int]
    failed: Mapped[int]
    failures: Mapped[dict[str, int]] = mapped_column(JSON)
    requests: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    longest_wait_seconds: Mapped[float] = mapped_column(_Seconds)
    ended_by: Mapped[str | None]


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
    round. As in ProductSync, `leased_until` proves who holds the lease.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint(
            "(leased_until IS NULL) = (status IS NOT NULL) AND (status IS NULL) = (headers IS NULL) "
            "AND (status IS NULL) = (body IS NULL)",
            name="claimed_or_answered",
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
