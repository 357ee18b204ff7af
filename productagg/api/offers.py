"""/products/{id}/offers: what is offered for a product, now or at a time, and what some units of it cost."""

from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pyramid.response import Response

from productagg import catalog, clock, offers
from productagg.api import contract
from productagg.api.schemas import COST, OFFERS, PRODUCT_ID
from productagg.api.service import (
    PUBLIC,
    invalid_query,
    known_product,
    product_id,
    public_json,
    query,
    seconds_until,
    service,
)
from productagg.history.asof import offers_at

product_offers = service("product_offers", "/products/{id}/offers", "Offers", PRODUCT_ID)
offers_cost = service("offers_cost", "/products/{id}/offers/cost", "Offers", PRODUCT_ID)


@product_offers.get(
    permission=PUBLIC,
    validators=(product_id, query(OFFERS)),
    answers=contract.public("An array of offers; with `at` an object.", contract.OFFERS),
)
def list_offers(request: Any) -> Response:
    """The current offers, cheapest first, with `closed=true` the sold-out ones after them; or those `at` a time."""
    wanted, at, closed = (request.validated[name] for name in ("product_id", "at", "closed"))
    if at is not None:
        if closed is not None:
            raise invalid_query({"closed": "must not be given together with 'at'"})
        return _offers_then(request, wanted, at)
    found = catalog.get(request.reader, wanted, closed=bool(closed))
    return public_json(request, orjson.Fragment(found.offers), seconds=_until_next_list(found))


@offers_cost.get(
    permission=PUBLIC, validators=(product_id, query(COST)), answers=contract.public("The cost.", contract.COST)
)
def read_cost(request: Any) -> Response:
    """What so many units cost now, taken from the cheapest offers first, as far as stock reaches."""
    wanted = request.validated["product_id"]
    found = catalog.get(request.reader, wanted)
    cost = offers.cost(wanted, orjson.loads(found.offers), request.validated["quantity"])
    # A price may have 63 bits; orjson writes no integer of more than 64.
    exact = None if cost.cost is None else orjson.Fragment(str(cost.cost))
    return public_json(request, {**vars(cost), "cost": exact}, seconds=_until_next_list(found))


def _until_next_list(found: catalog.Found) -> int:
    """In how many seconds the product is to be asked for again, which may change its offers."""
    return seconds_until(found.next_sync_at, found.now)


def _offers_then(request: Any, wanted: UUID, at: datetime) -> Response:
    now = clock.now(request.reader)
    if at > now:
        raise invalid_query({"at": "must not lie in the future"})
    return public_json(request, offers_at(request.reader, known_product(request, wanted, now), at))
