"""/products/{id}/offers: what is offered for a product, now or at a time, and what some units of it cost."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pyramid.response import Response

from productagg.api.core.pagination import page_headers
from productagg.api.core.schemas import COST, DEFAULT_LIMIT, OFFERS, PRODUCT_ID
from productagg.api.core.service import (
    PUBLIC,
    invalid_query,
    observed_for,
    product_id,
    public_json,
    query,
    seconds_until,
    service,
)
from productagg.api.openapi import answers
from productagg.catalog import products as catalog
from productagg.db import clock
from productagg.history.offers_at import offers_at
from productagg.offers import reconcile

product_offers = service("product_offers", "/products/{id}/offers", "Offers", PRODUCT_ID)
offers_cost = service("offers_cost", "/products/{id}/offers/cost", "Offers", PRODUCT_ID)


@product_offers.get(
    permission=PUBLIC,
    validators=(product_id, query(OFFERS)),
    answers=answers.public("An array of offers; with `at` an object.", answers.OFFERS, "Next-Cursor?", "Link?"),
    errors=("invalid-cursor",),
)
def list_offers(request: Any) -> Response:
    """The current offers, cheapest first, with `closed=true` pages of the sold-out ones too; or those `at` a time."""
    question = request.validated
    if question["at"] is not None:
        _refuse(question, ("closed", "limit", "cursor"), "must not be given together with 'at'")
        return _offers_then(request, question["product_id"], question["at"])
    if question["closed"]:
        return _with_closed(request, question)
    _refuse(question, ("limit", "cursor"), "must not be given without 'closed=true'")
    found = catalog.get(request.reader, question["product_id"])
    return public_json(request, orjson.Fragment(found.offers), seconds=_until(found.next_sync_at, found.now))


@offers_cost.get(
    permission=PUBLIC, validators=(product_id, query(COST)), answers=answers.public("The cost.", answers.COST)
)
def read_cost(request: Any) -> Response:
    """What so many units cost now, taken from the cheapest offers first, as far as stock reaches."""
    wanted = request.validated["product_id"]
    found = catalog.get(request.reader, wanted)
    cost = reconcile.cost(wanted, orjson.loads(found.offers), request.validated["quantity"])
    # A price may have 63 bits; orjson writes no integer of more than 64.
    exact = None if cost.cost is None else orjson.Fragment(str(cost.cost))
    return public_json(request, {**vars(cost), "cost": exact}, seconds=_until(found.next_sync_at, found.now))


def _with_closed(request: Any, question: dict[str, Any]) -> Response:
    cursor = question.pop("cursor")
    place, began = None, int(time.time())
    if cursor is not None:
        place, began = request.registry["cursors"].read(cursor, question, catalog.ClosedPlace)
    found = catalog.offers_page(request.reader, question["product_id"], question["limit"] or DEFAULT_LIMIT, place)
    following = found.following and request.registry["cursors"].write(found.following, question, began)
    # Not the cursor: it says when the first page was read.
    tagged_by = [str(following is not None)]
    headers = page_headers(request, following)
    seconds = _until(found.next_sync_at, found.now)
    return public_json(request, orjson.Fragment(found.offers), headers, seconds, tagged_by)


def _refuse(question: Mapping[str, Any], names: Iterable[str], why: str) -> None:
    given = [name for name in names if question[name] is not None]
    if given:
        raise invalid_query(dict.fromkeys(given, why))


def _until(next_sync_at: datetime, now: datetime) -> int:
    """In how many seconds the product is to be asked for again, which may change its offers."""
    return seconds_until(next_sync_at, now)


def _offers_then(request: Any, wanted: UUID, at: datetime) -> Response:
    now = clock.now(request.reader)
    if at > now:
        raise invalid_query({"at": "must not lie in the future"})
    return public_json(request, offers_at(request.reader, wanted, at, now=now, observed_for=observed_for(request)))
