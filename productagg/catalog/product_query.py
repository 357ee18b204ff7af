"""The query for a page of the catalogue: the search and the filters, the sort, and the cursor where the page begins.

Plain values, for the listing and its callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import InstrumentedAttribute

from productagg.catalog.product_members import MEMBERS
from productagg.db.models import Base, Product, ProductSummary, UtcDateTime

# The sort by how well a product matches the search.
RELEVANCE = "relevance"


class Sort(NamedTuple):
    """A sort key: a column of `model`, which has an index over the key and the product's id.

    When the key changes, the change feed has a change of `change_kind`, whose column `old_value` holds the key from
    before. Both are empty for a key that never changes.
    """

    model: type[Base]
    key: InstrumentedAttribute[Any]
    old_value: str = ""
    change_kind: str = ""
    nullable: bool = False

    @property
    def is_time(self) -> bool:
        return isinstance(self.key.type, UtcDateTime)


_SORTS = {
    # The key is a level (see relevance.py), computed from this column and the search words.
    RELEVANCE: Sort(Product, Product.search_text, "search_text", "changed"),
    "name": Sort(Product, Product.sort_name, "sort_name", "changed"),
    "created_at": Sort(Product, Product.created_at),
    "updated_at": Sort(Product, Product.updated_at, "updated_at", "changed"),
    "lowest_price": Sort(ProductSummary, ProductSummary.lowest, "lowest", "offers", nullable=True),
    "items_in_stock": Sort(ProductSummary, ProductSummary.items_in_stock, "items_in_stock", "offers"),
}
# All but relevance can also be descending.
SORTS = (RELEVANCE, *chain.from_iterable((name, f"-{name}") for name in _SORTS if name != RELEVANCE))


@dataclass(frozen=True)
class ProductQuery:
    """Which products, in which order, and which of MEMBERS. A filter that is None lets all products pass.

    All `words`, which come from `search_text.search_words`, must occur in a product's search text; without words, all
    products are equally relevant. `brands` and `categories` are keys from `search_text.filter_key`. The price filters
    apply to the lowest in-stock price. `sort` is one of SORTS; in a sort by price, ascending or descending, products
    without a price come last.
    """

    sort: str = "created_at"
    words: Sequence[str] = ()
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None
    registration: str | None = None
    updated_since: datetime | None = None
    ids: Sequence[UUID] | None = None
    brands: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    fields: tuple[str, ...] = MEMBERS


class Cursor(NamedTuple):
    """Where a page begins: after a product, or at it if `inclusive`, `backward` or forward. Its values fit into JSON.

    `key` is the product's sort key as of the first page, which was read after the change with the number `as_of`. All
    pages keep the order of that moment, so that a product that moves meanwhile is neither skipped nor repeated.
    """

    key: str | int | None
    id: UUID
    as_of: int
    backward: bool
    inclusive: bool


def sort_of(name: str) -> Sort:
    """The sort with one of the names in SORTS, in either direction."""
    return _SORTS[name.removeprefix("-")]
