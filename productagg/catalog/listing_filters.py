"""The filters of the listing as SQL: the conditions, their parameters, and how many products match.

For listing.py and listing_sql.py; it runs nothing.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, Text, Uuid, bindparam, func, literal_column, select

from productagg.catalog import relevance
from productagg.catalog.product_members import PRODUCT_ID, joins
from productagg.catalog.product_query import ProductQuery
from productagg.db.models import AT_OFFERS_SERVICE, Base, Product, ProductSource, ProductSummary, UtcDateTime

_CONDITIONS: dict[str, tuple[type[Base], ColumnElement[bool]]] = {
    "min_price": (ProductSummary, ProductSummary.lowest >= bindparam("min_price", type_=BigInteger)),
    "max_price": (ProductSummary, ProductSummary.lowest <= bindparam("max_price", type_=BigInteger)),
    "in_stock": (ProductSummary, ProductSummary.lowest.is_not(None)),
    "sold_out": (ProductSummary, ProductSummary.lowest.is_(None)),
    "registration": (ProductSource, ProductSource.registration == bindparam("registration", type_=Text)),
    "updated_since": (Product, Product.updated_at >= bindparam("updated_since", type_=UtcDateTime)),
    "brands": (Product, Product.brand_key.in_(bindparam("brands", expanding=True, type_=Text))),
    "categories": (Product, Product.category_key.in_(bindparam("categories", expanding=True, type_=Text))),
}
# A product without a price passes none of these.
PRICE_FILTERS = {"min_price", "max_price", "in_stock"}
_WORD_PREFIX = "word_"


def filter_parameters(query: ProductQuery) -> dict[str, Any]:
    """The parameters of the query's filters, by the filters' names."""
    values = {
        "min_price": query.min_price,
        "max_price": query.max_price,
        "in_stock": query.in_stock or None,
        "sold_out": True if query.in_stock is False else None,
        "registration": query.registration,
        "updated_since": query.updated_since,
        "ids": query.ids,
        "brands": query.brands,
        "categories": query.categories,
    }
    return {name: value for name, value in values.items() if value is not None} | _word_parameters(query.words)


def _word_parameters(words: Iterable[str]) -> dict[str, str]:
    return {f"{_WORD_PREFIX}{number}": relevance.escape_like(word) for number, word in enumerate(words)}


def word_filters(filters: Iterable[str]) -> list[str]:
    """The filters that are search words."""
    return sorted(name for name in filters if name.startswith(_WORD_PREFIX))


def matching(filters: Iterable[str], model: type[Base]) -> Select[Any]:
    """A SELECT, without columns, of the matching products: `model` joined with the tables that the filters need."""
    query = select().select_from(model)
    conditions = [_condition(name, model) for name in sorted(filters)]
    others = dict.fromkeys(needed for needed, _ in conditions)
    others.pop(model, None)
    for other in others:
        query = query.join(other, joins(model, other))
    if model is ProductSource:
        query = query.where(AT_OFFERS_SERVICE)
    return query.where(*(condition for _, condition in conditions))


def _condition(name: str, model: type[Base]) -> tuple[type[Base], ColumnElement[bool]]:
    """The condition of a filter, and the model whose columns it needs."""
    if name == "ids":
        return model, PRODUCT_ID[model].in_(bindparam("ids", expanding=True, type_=Uuid))
    return _CONDITIONS.get(name) or (Product, relevance.matches(Product.search_text, [name]))


@lru_cache(maxsize=256)
def count_statement(filters: frozenset[str], limit: int | None) -> Select[Any]:
    """How many products pass the filters; counting stops one above `limit`."""
    model = next((_CONDITIONS[name][0] for name in sorted(filters) if name in _CONDITIONS), Product)
    matches = matching(filters, model).add_columns(literal_int(1))
    return select(func.count()).select_from(
        (matches if limit is None else matches.limit(literal_int(limit + 1))).subquery()
    )


def literal_int(value: int) -> ColumnElement[int]:
    """A number in the text of a statement. The planner sees it, which a parameter would hide."""
    return literal_column(str(value), Integer)
