"""Offers, and the price histories of offers and products."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from productagg.db.models.base import Base, product_key

# The words of sources/vocabulary.py.
AVAILABILITIES = ("in_stock", "out_of_stock", "preorder", "backorder", "discontinued", "unknown")
CONDITIONS = ("new", "refurbished", "used", "unknown")


class Offer(Base):
    """An offer as last seen. A sync never deletes an offer: it closes an offer that vanished, as out of stock.

    `price` and `shipping` are in minor units of `currency`, which never changes: in another currency it is another
    offer (see offers/identity.py). `external_id` is its id at its source; NULL if that is `id`. `items_in_stock` is the
    number that the source tells, NULL if it tells none; offers/stock.py says what counts as in stock. The other facts
    are NULL if the source does not tell them; `shipping` 0 is free. `quarantined` is a price that is held back (see
    offers/offer_state.py): one column, because hardly any offer has it, and every sync reads all open offers.

    Compaction removes offers that have been closed for long (see history/closed_offers.py).
    """

    __tablename__ = "offers"
    __table_args__ = (
        CheckConstraint("price >= 0", name="price_not_negative"),
        CheckConstraint("items_in_stock >= 0", name="items_in_stock_not_negative"),
        CheckConstraint("shipping >= 0", name="shipping_not_negative"),
        CheckConstraint(f"condition IN {CONDITIONS}", name="condition_known"),
        CheckConstraint(f"availability IN {AVAILABILITIES}", name="availability_known"),
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

    product_id: Mapped[UUID] = product_key()
    id: Mapped[UUID] = mapped_column(primary_key=True)
    source_id: Mapped[UUID] = mapped_column(ForeignKey("sources.id"))
    price: Mapped[int] = mapped_column(BigInteger)
    items_in_stock: Mapped[int | None] = mapped_column(BigInteger)
    first_seen_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    currency: Mapped[str]
    condition: Mapped[str]
    availability: Mapped[str]
    seller: Mapped[str | None]
    url: Mapped[str | None]
    shipping: Mapped[int | None] = mapped_column(BigInteger)
    external_id: Mapped[str | None]
    quarantined: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class OfferPrice(Base):
    """A step of an offer's history: append-only, a row only when the price or the stock changed.

    `items_in_stock` is 0 if the offer is not in stock, or closed, whatever number its source tells; NULL if it is in
    stock, and the number is not told. The price is in the offer's currency.

    PostgreSQL keeps the steps in monthly partitions, which history/partitions.py creates ahead and drops. Compaction
    moves the steps of old months to OfferPriceDay; every step is in exactly one of the two tables.
    """

    __tablename__ = "offer_prices"
    __table_args__ = (
        CheckConstraint("price >= 0", name="price_not_negative"),
        CheckConstraint("items_in_stock >= 0", name="items_in_stock_not_negative"),
        {"postgresql_partition_by": "RANGE (observed_at)"},
    )

    product_id: Mapped[UUID] = product_key()
    offer_id: Mapped[UUID] = mapped_column(primary_key=True)
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(BigInteger)
    items_in_stock: Mapped[int | None] = mapped_column(BigInteger)


class OfferPriceDay(Base):
    """A compacted step. With a `summary`, it is the last step of a UTC day whose other steps were removed.

    history/buckets.py defines what a summary holds.
    """

    __tablename__ = "offer_price_days"

    product_id: Mapped[UUID] = product_key()
    offer_id: Mapped[UUID] = mapped_column(primary_key=True)
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(BigInteger)
    items_in_stock: Mapped[int | None] = mapped_column(BigInteger)
    summary: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class ProductPrice(Base):
    """A step of a product's history: append-only, a row only when it changed. NULL prices mean 'sold out'.

    It sums up the offers in the catalogue's currency; `items_in_stock` is the sum of the numbers that sources tell.
    `average` is rounded half up to a whole unit: money is never a float. A row that is not `observed` begins a gap:
    the price is unknown until the next row. Partitions and compaction: see OfferPrice.
    """

    __tablename__ = "product_prices"
    __table_args__ = (
        CheckConstraint("lowest >= 0", name="lowest_not_negative"),
        CheckConstraint("average >= lowest", name="average_not_below_lowest"),
        CheckConstraint("offers >= 0 AND items_in_stock >= 0", name="counts_not_negative"),
        CheckConstraint(
            "(lowest IS NULL) = (offers = 0) AND (average IS NULL) = (offers = 0)", name="sold_out_is_null"
        ),
        CheckConstraint("observed OR (offers = 0 AND items_in_stock = 0)", name="gap_is_empty"),
        {"postgresql_partition_by": "RANGE (observed_at)"},
    )

    product_id: Mapped[UUID] = product_key()
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    average: Mapped[int | None] = mapped_column(BigInteger)
    offers: Mapped[int]
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    observed: Mapped[bool]


class ProductPriceDay(Base):
    """A compacted step. With a `summary`, it is the last step of a UTC day whose other steps were removed.

    Eight columns: with a ninth, PostgreSQL's NULL bitmap would make every row eight bytes larger. No constraints here:
    rows come from ProductPrice, which checks them.
    """

    __tablename__ = "product_price_days"

    product_id: Mapped[UUID] = product_key()
    observed_at: Mapped[datetime] = mapped_column(primary_key=True)
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    average: Mapped[int | None] = mapped_column(BigInteger)
    offers: Mapped[int]
    items_in_stock: Mapped[int] = mapped_column(BigInteger)
    observed: Mapped[bool]
    summary: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class PriceCorrection(Base):
    """A correction of the prices of an offer that were recorded from `wrong_from` until before `wrong_until`.

    `price` is the right one; NULL: the price before stayed in force. `changes` lists each step with its old and its new
    price. The user's name is kept as it was.
    """

    __tablename__ = "price_corrections"

    product_id: Mapped[UUID] = product_key()
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    offer_id: Mapped[UUID]
    at: Mapped[datetime]
    wrong_from: Mapped[datetime]
    wrong_until: Mapped[datetime]
    price: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str]
    username: Mapped[str]
    changes: Mapped[list[Any]] = mapped_column(JSON)


class HistoryProgress(Base):
    """Compaction's watermarks, in one row. NULL: nothing was removed yet.

    Every step since `raw_from` is kept in OfferPrice and ProductPrice; older days may be summarised. Offers that were
    closed before `offers_from` may be removed. Both are the start of a UTC day. The migration inserts the row.
    """

    __tablename__ = "history_progress"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    raw_from: Mapped[datetime | None]
    offers_from: Mapped[datetime | None]
