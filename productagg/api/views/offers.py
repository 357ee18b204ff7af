"""/products/{id}/offers: what is offered for a product, now or at a time, and what a number of units costs."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypedDict
from uuid import UUID

import orjson
from pyramid.response import Response

from productagg.api.core.errors import ErrorCode
from productagg.api.core.fields import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    PRODUCT_ID,
    cursor,
    flag,
    mapping,
    number,
    time_parameter,
)
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import json_response, public_cache_control
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import invalid_query, product_id, query
from productagg.api.openapi import answers
from productagg.api.views.known_product import known_product
from productagg.catalog import products as catalog
from productagg.db import clock
from productagg.history.asof import offers_at
from productagg.offers import reconcile

_MAX_QUANTITY = 2**31 - 1


class OffersQuery(TypedDict):
    closed: bool | None
    at: datetime | None
    limit: int | None
    cursor: str | None


class CostQuery(TypedDict):
    quantity: int


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
    ),
    OffersQuery,
)
cost_query = query(mapping(number("quantity", _MAX_QUANTITY, "The number of units.", example=100)), CostQuery)

product_offers = service("product_offers", "/products/{id}/offers", "Offers", PRODUCT_ID)
offers_cost = service("offers_cost", "/products/{id}/offers/cost", "Offers", PRODUCT_ID)


@product_offers.get(
    permission=PUBLIC,
    validators=(product_id, offers_query),
    answers=answers.public("An array of offers; with `at` an object.", answers.OFFERS, "Next-Cursor?", "Link?"),
    errors=(ErrorCode.INVALID_CURSOR,),
)
def list_offers(request: Request) -> Response:
    """The current offers, cheapest first; with `closed=true` the sold-out offers too; or the offers `at` a time."""
    product, question = product_id.value(request), offers_query.value(request)
    if question["at"] is not None:
        _refuse(question, ("closed", "limit", "cursor"), "must not be given together with 'at'")
        return _offers_at(request, product, question["at"])
    if question["closed"]:
        return _with_closed_offers(request, product, question)
    _refuse(question, ("limit", "cursor"), "must not be given without 'closed=true'")
    found = catalog.get(request.reader, product)
    cache_control = public_cache_control(request, found.next_sync_at - found.now)
    return json_response(orjson.Fragment(found.offers), cache_control=cache_control)


@offers_cost.get(
    permission=PUBLIC, validators=(product_id, cost_query), answers=answers.public("The cost.", answers.COST)
)
def read_cost(request: Request) -> Response:
    """What a number of units costs now, taken from the cheapest offers first, as far as the stock reaches."""
    product, quantity = product_id.value(request), cost_query.value(request)["quantity"]
    found = catalog.get(request.reader, product)
    cost = reconcile.cost(product, orjson.loads(found.offers), quantity)
    # A price may have 63 bits, and orjson writes no integer of more than 64.
    exact = None if cost.cost is None else orjson.Fragment(str(cost.cost))
    cache_control = public_cache_control(request, found.next_sync_at - found.now)
    return json_response({**vars(cost), "cost": exact}, cache_control=cache_control)


def _refuse(question: OffersQuery, names: Iterable[str], why: str) -> None:
    values: Mapping[str, object] = question
    given = [name for name in names if values[name] is not None]
    if given:
        raise invalid_query(dict.fromkeys(given, why))


def _with_closed_offers(request: Request, product: UUID, question: OffersQuery) -> Response:
    cursors = request.services.cursors
    # A cursor is valid for this product only.
    asked = {**question, "product_id": product}
    place, began = None, int(time.time())
    if question["cursor"] is not None:
        place, began = cursors.read(question["cursor"], asked, catalog.ClosedPlace)
    page = catalog.offers_page(request.reader, product, question["limit"] or DEFAULT_LIMIT, place)
    next_cursor = cursors.write(page.following, asked, began) if page.following else None
    return json_response(
        orjson.Fragment(page.offers),
        # Not the cursor: it contains when the first page was read.
        tagged_by=[str(next_cursor is not None)],
        headers=page_headers(request, next_cursor),
        cache_control=public_cache_control(request, page.next_sync_at - page.now),
    )


def _offers_at(request: Request, product: UUID, at: datetime) -> Response:
    now = clock.now(request.reader)
    if at > now:
        raise invalid_query({"at": "must not lie in the future"})
    found = offers_at(request.reader, known_product(request, product, now), at)
    return json_response(found, cache_control=public_cache_control(request))
