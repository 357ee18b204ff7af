"""/products/{id}/offers/{offer_id}/prior-price and /prior-prices: traders' reductions and their prior prices."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

import colander
from pyramid.response import Response

from productagg.api.core.answers import Answer, public
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import PRODUCT_ID
from productagg.api.core.request import Request
from productagg.api.core.responses import dumps, json_response, public_cache_control, respond
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import json_body, no_query, product_in_path
from productagg.api.openapi.response_schemas import OneOf
from productagg.api.openapi.schemas import PRIOR_PRICE, PRIOR_PRICE_FOUND, PRIOR_PRICE_NOT_FOUND
from productagg.api.views.prices import OFFER_ID, no_such_offer, offer_in_path
from productagg.db import clock
from productagg.history import UnknownOffer, UnknownProduct
from productagg.history.prior_price import PriorPrice
from productagg.history.prior_prices import Found, OfferKey, prior_prices
from productagg.schema_types import mapping, uuid

MAX_OFFERS = 1000


class OfferKeys(colander.SchemaType):
    """An array of 1 to MAX_OFFERS objects that name an offer of a product."""

    schema: ClassVar = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_OFFERS,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": list(OfferKey._fields),
            "properties": {name: {"type": "string", "format": "uuid"} for name in OfferKey._fields},
        },
    }

    def deserialize(self, node: colander.SchemaNode, cstruct: Any) -> Any:
        if cstruct is colander.null:
            return cstruct
        if not isinstance(cstruct, list) or not 1 <= len(cstruct) <= MAX_OFFERS:
            raise colander.Invalid(node, f"must be an array of 1 to {MAX_OFFERS} items")
        return [_offer_key(node, number, item) for number, item in enumerate(cstruct)]


def _offer_key(node: colander.SchemaNode, number: int, item: Any) -> OfferKey:
    if not isinstance(item, dict) or item.keys() != set(OfferKey._fields):
        raise colander.Invalid(node, f"item {number} must be an object with {' and '.join(OfferKey._fields)}, only")
    try:
        return OfferKey(*(uuid(item[name]) for name in OfferKey._fields))
    except (TypeError, ValueError):
        raise colander.Invalid(node, f"item {number} must have UUIDs") from None


class PriorPricesBody(TypedDict):
    offers: list[OfferKey]


prior_prices_body = json_body(
    mapping(
        colander.SchemaNode(
            OfferKeys(),
            name="offers",
            description="The offers, each by the ids of its product and its own.",
            missing_msg="is required",
            example=[{"product_id": PRODUCT_ID.example, "offer_id": OFFER_ID.example}],
        )
    ),
    PriorPricesBody,
)

offer_prior_price = service(
    "offer_prior_price", "/products/{id}/offers/{offer_id}/prior-price", "Price history", PRODUCT_ID, OFFER_ID
)
many_prior_prices = service("prior_prices", "/prior-prices", "Price history")


@offer_prior_price.get(
    permission=PUBLIC,
    validators=(product_in_path, offer_in_path, no_query),
    answers=public("The prior price.", PRIOR_PRICE),
)
def read_prior_price(request: Request) -> Response:
    """The reduction that led to an offer's price, and its prior price under Article 6a of Directive 98/6/EC."""
    key = OfferKey(product_in_path.value(request), offer_in_path.value(request))
    (found,) = _look_up(request, [key])
    if isinstance(found, UnknownProduct):
        raise found
    if isinstance(found, UnknownOffer):
        raise no_such_offer(key.offer_id)
    return json_response({**key._asdict(), **vars(found)}, cache_control=public_cache_control(request))


@many_prior_prices.post(
    permission=PUBLIC,
    validators=(no_query, prior_prices_body),
    answers=(
        Answer(
            "An answer for each offer, in the same order: `status` says whether there is such an offer.",
            [OneOf((PRIOR_PRICE_FOUND, PRIOR_PRICE_NOT_FOUND))],
        ),
    ),
)
def read_prior_prices(request: Request) -> Response:
    """The prior prices of up to 1,000 offers at once. It changes nothing."""
    keys = prior_prices_body.value(request)["offers"]
    return respond(dumps([_to_json(key, found) for key, found in zip(keys, _look_up(request, keys), strict=True)]))


def _look_up(request: Request, keys: Sequence[OfferKey]) -> list[Found]:
    now = clock.now(request.reader)
    found = prior_prices(request.reader, keys, now=now, observed_for=request.services.observed_for)
    return [found[key] for key in keys]


def _to_json(key: OfferKey, found: Found) -> dict[str, Any]:
    if isinstance(found, PriorPrice):
        return {"status": 200, "result": {**key._asdict(), **vars(found)}}
    if isinstance(found, UnknownProduct):
        problem = Problem(ErrorCode.PRODUCT_NOT_FOUND, f"There is no product {found}.")
    else:
        problem = no_such_offer(key.offer_id)
    return {"status": problem.code.status, "problem": problem.body()}
