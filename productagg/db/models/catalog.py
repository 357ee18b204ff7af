"""The catalogue and its products, their summaries and the change feed."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from productagg.db.models.base import BY_CODE_POINTS, Base, product_key

NAME_MAX_LENGTH = 200
DESCRIPTION_MAX_LENGTH = 10_000
BRAND_MAX_LENGTH = 100
CATEGORY_MAX_LENGTH = 200
IMAGE_URL_MAX_LENGTH = 2_000


def _index_of_known(column: str) -> Index:
    """An index for a filter, in the default order of the listing. Products without a value cost nothing."""
    known = text(f"{column} IS NOT NULL")
    return Index(None, column, "created_at", "id", postgresql_where=known, sqlite_where=known)


class Catalogue(Base):
    """Facts about the whole catalogue, in one row, which the migration inserts.

    All summaries and histories of products are of offers in its `currency`. The programs refuse to start with another
    setting CURRENCY (see startup_checks.check_currency): what is stored would be compared with prices of another one.
    """

    __tablename__ = "catalogue"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    currency: Mapped[str]


class Product(Base):
    """A product of the catalogue. `id` is a UUIDv7, so id order is creation order; `version` counts its changes.

    `search_text`, `sort_name`, `brand_key` and `category_key` are derived from the other texts whenever these are
    written (see catalog/search_text.py). `gtin` to `image_url` are NULL if they are not known.
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
        # Items of feeds are looked up by their GTINs.
        Index(None, "gtin", postgresql_where=text("gtin IS NOT NULL"), sqlite_where=text("gtin IS NOT NULL")),
        _index_of_known("brand_key"),
        _index_of_known("category_key"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    search_text: Mapped[str]
    sort_name: Mapped[str] = mapped_column(BY_CODE_POINTS)
    gtin: Mapped[str | None]
    brand: Mapped[str | None]
    category: Mapped[str | None]
    image_url: Mapped[str | None]
    brand_key: Mapped[str | None] = mapped_column(BY_CODE_POINTS)
    category_key: Mapped[str | None] = mapped_column(BY_CODE_POINTS)


class ProductSummary(Base):
    """What a product costs now and what it cost some time ago. The sync maintains it, so that reads search no history.

    Every product has a row. `lowest` to `items_in_stock` are those of its newest price, observed at `observed_at`, of
    the offers in the catalogue's currency. Without a price they are NULL, and nothing is in stock. `items_in_stock` is
    the sum of the numbers that sources tell: it may be 0 though there are `offers` in stock.

    `lowest_24h`, `lowest_7d` and `lowest_30d` are the lowest prices that long before `compared_at`; NULL if nothing was
    in stock then, or it is not known. They are looked up again at `compare_at`; NULL means not before the product
    changes.
    """

    __tablename__ = "product_summaries"
    __table_args__ = (Index(None, "lowest", "product_id"), Index(None, "items_in_stock", "product_id"))

    product_id: Mapped[UUID] = product_key()
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
            name="changed_has_old_values",
        ),
        CheckConstraint(
            "(items_in_stock IS NOT NULL) = (kind = 'offers') AND (lowest IS NULL OR kind = 'offers')",
            name="offers_has_old_values",
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
    sort_name: Mapped[str | None] = mapped_column(BY_CODE_POINTS)
    updated_at: Mapped[datetime | None]
    lowest: Mapped[int | None] = mapped_column(BigInteger)
    items_in_stock: Mapped[int | None] = mapped_column(BigInteger)
    search_text: Mapped[str | None]
