"""/products/{id}/offers: a product's offers, now or at a time, and the cost of a quantity."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict
from uuid import UUID

import orjson
from pyramid.response import Response

from productagg.api.core.answers import public
from productagg.api.core.errors import ErrorCode
from productagg.api.core.fields import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    PRODUCT_ID,
    choice,
    cursor,
    flag,
    number,
    offer_order,
    parameter,
    time_parameter,
)
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import json_response, public_cache_control
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import invalid_query, product_in_path, query
from productagg.api.openapi import schemas
from productagg.catalog import products as catalog
from productagg.catalog.product_members import OfferOrder
from productagg.catalog.product_offers import ClosedOffersCursor, offers_page
from productagg.db import clock
from productagg.db.models import CONDITIONS
from productagg.history.offers_at import offers_at
from productagg.offers.cost import cheapest_cost
from productagg.offers.stock import stock_of
from productagg.schema_types import mapping
from productagg.sources.vocabulary import Condition

_MAX_QUANTITY = 2**31 - 1
_MAX_SELLER_LENGTH = 200
_FILTERS: tuple[Literal["seller", "condition", "in_stock"], ...] = ("seller", "condition", "in_stock")


class OffersQuery(TypedDict):
    closed: bool | None
    at: datetime | None
    limit: int | None
    cursor: str | None
    by: OfferOrder | None
    seller: str | None
    condition: Condition | None
    in_stock: bool | None


class CostQuery(TypedDict):
    quantity: int


def _read_seller(text: str) -> str:
    if not 1 <= len(text) <= _MAX_SELLER_LENGTH:
        raise ValueError(text)
    return text


offers_query = query(
    mapping(
        flag(
            "closed",
            "The sold-out offers as well, in pages, most recently sold out first. The first page begins with all "
            "current offers. Not together with `at`.",
            example=True,
        ),
        time_parameter("at", "The offers as they were at this time, which must not be in the future."),
        number(
            "limit",
            MAX_LIMIT,
            f"With `closed=true`: the maximum number of sold-out offers; {DEFAULT_LIMIT} by default.",
            missing=None,
        ),
        cursor("Only with `closed=true`. It expires a day after the first page."),
        offer_order(missing=None),
        parameter(
            "seller",
            _read_seller,
            f"a name of 1 to {_MAX_SELLER_LENGTH} characters",
            {"type": "string", "minLength": 1, "maxLength": _MAX_SELLER_LENGTH},
            "Only current offers of exactly this seller.",
            missing=None,
        ),
        choice("condition", CONDITIONS, "Only current offers in this condition.", missing=None),
        flag("in_stock", "Only current offers that are in stock, or only those that are not."),
    ),
    OffersQuery,
)
cost_query = query(mapping(number("quantity", _MAX_QUANTITY, "The number of units.", example=100)), CostQuery)

product_offers = service("product_offers", "/products/{id}/offers", "Offers", PRODUCT_ID)
offers_cost = service("offers_cost", "/products/{id}/offers/cost", "Offers", PRODUCT_ID)


@product_offers.get(
    permission=PUBLIC,
    validators=(product_in_path, offers_query),
    answers=public("An array of offers; with `at` an object.", schemas.OFFERS, "Next-Cursor?", "Link?"),
    errors=(ErrorCode.INVALID_CURSOR,),
)
def list_offers(request: Request) -> Response:
    """The current offers, cheapest first, or some of them; with `closed=true` closed ones too; or those `at` a time."""
    product_id, parameters = product_in_path.value(request), offers_query.value(request)
    if parameters["at"] is not None:
        _refuse(parameters, ("closed", "limit", "cursor", "by", *_FILTERS), "must not be given together with 'at'")
        return _offers_at(request, product_id, parameters["at"])
    if parameters["closed"]:
        _refuse(parameters, ("by", *_FILTERS), "must not be given together with 'closed=true'")
        return _with_closed_offers(request, product_id, parameters)
    _refuse(parameters, ("limit", "cursor"), "must not be given without 'closed=true'")
    product = catalog.get(request.reader, product_id, parameters["by"] or "price")
    cache_control = public_cache_control(request, product.next_sync_at - product.now)
    if all(parameters[name] is None for name in _FILTERS):
        return json_response(orjson.Fragment(product.offers), cache_control=cache_control)
    offers = [offer for offer in orjson.loads(product.offers) if _passes(offer, parameters)]
    return json_response(offers, cache_control=cache_control)


@offers_cost.get(permission=PUBLIC, validators=(product_in_path, cost_query), answers=public("The cost.", schemas.COST))
def read_cost(request: Request) -> Response:
    """What a number of units costs now, taken from the cheapest offers first, as far as the stock reaches."""
    product_id, quantity = product_in_path.value(request), cost_query.value(request)["quantity"]
    product = catalog.get(request.reader, product_id)
    currency = request.services.settings.currency
    cost = cheapest_cost(product_id, currency, orjson.loads(product.offers), quantity)
    # A price may have 63 bits, and orjson writes no integer of more than 64.
    exact = None if cost.cost is None else orjson.Fragment(str(cost.cost))
    cache_control = public_cache_control(request, product.next_sync_at - product.now)
    return json_response({**vars(cost), "cost": exact}, cache_control=cache_control)


def _passes(offer: Mapping[str, Any], parameters: OffersQuery) -> bool:
    """Whether an offer, as JSON has it, passes the filters that are given."""
    in_stock = stock_of(offer["availability"], offer["items_in_stock"]) != 0
    return (
        parameters["seller"] in (None, offer["seller"])
        and parameters["condition"] in (None, offer["condition"])
        and parameters["in_stock"] in (None, in_stock)
    )


def _refuse(parameters: OffersQuery, names: Iterable[str], why: str) -> None:
    values: Mapping[str, object] = parameters
    given = [name for name in names if values[name] is not None]
    if given:
        raise invalid_query(dict.fromkeys(given, why))


def _with_closed_offers(request: Request, product_id: UUID, parameters: OffersQuery) -> Response:
    cursors = request.services.cursors
    # A cursor is valid for this product only.
    asked = {**parameters, "product_id": product_id}
    position, began = None, int(time.time())
    if parameters["cursor"] is not None:
        position, began = cursors.read(parameters["cursor"], asked, ClosedOffersCursor)
    page = offers_page(request.reader, product_id, parameters["limit"] or DEFAULT_LIMIT, position)
    next_cursor = cursors.write(page.following, asked, began) if page.following else None
    return json_response(
        orjson.Fragment(page.offers),
        # Not the cursor: it contains when the first page was read.
        tagged_by=[str(next_cursor is not None)],
        headers=page_headers(request, next_cursor),
        cache_control=public_cache_control(request, page.next_sync_at - page.now),
    )


def _offers_at(request: Request, product_id: UUID, at: datetime) -> Response:
    now = clock.now(request.reader)
    if at > now:
        raise invalid_query({"at": "must not lie in the future"})
    offers = offers_at(request.reader, product_id, at, now=now, observed_for=request.services.observed_for)
    return json_response(offers, cache_control=public_cache_control(request))
