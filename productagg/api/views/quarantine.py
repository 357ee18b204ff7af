"""/products/{id}/offers/{offer_id}/quarantined: an admin decides about a price that is held back."""

from typing import Literal, TypedDict

import colander
import orjson
from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import PRODUCT_ID
from productagg.api.core.request import Request
from productagg.api.core.responses import json_response
from productagg.api.core.service import service
from productagg.api.core.validators import json_body, no_query, product_in_path
from productagg.api.openapi.schemas import OFFER
from productagg.api.views.prices import OFFER_ID, offer_in_path
from productagg.catalog import products as catalog
from productagg.offers.money import MAX_AMOUNT
from productagg.schema_types import Text, WholeNumber, mapping
from productagg.sync import quarantine_decisions
from productagg.sync.quarantine_decisions import NoOpenOffer


class DecisionBody(TypedDict):
    price: int
    decision: Literal["accept", "reject"]


_DECISIONS = ("accept", "reject")


def _is_decision(node: colander.SchemaNode, value: str) -> None:
    if value not in _DECISIONS:
        raise colander.Invalid(node, "must be 'accept' or 'reject'")


decision = json_body(
    mapping(
        colander.SchemaNode(
            WholeNumber(0, MAX_AMOUNT),
            name="price",
            description="The price that is held back, as it was shown: the decision is about no other.",
            example=499000,
            missing_msg="is required",
        ),
        colander.SchemaNode(
            Text(enum=list(_DECISIONS)),
            name="decision",
            description="`accept`: the price is the offer's from now on. `reject`: it stays held back for as long as "
            "the source lists it.",
            example="accept",
            validator=_is_decision,
            missing_msg="is required",
        ),
    ),
    DecisionBody,
)
quarantined_price = service(
    "quarantined_price", "/products/{id}/offers/{offer_id}/quarantined", "Offers", PRODUCT_ID, OFFER_ID
)


@quarantined_price.post(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_in_path, offer_in_path, no_query, decision),
    answers=(Answer("The offer as it is now.", OFFER),),
    errors=(ErrorCode.NOT_QUARANTINED,),
)
def decide_quarantined(request: Request) -> Response:
    """Accept or reject the price that an offer holds back, its `quarantined`."""
    product_id, offer_id, body = product_in_path.value(request), offer_in_path.value(request), decision.value(request)
    try:
        if body["decision"] == "accept":
            quarantine_decisions.accept(
                request.dbsession, product_id, offer_id, body["price"], request.services.observed_for
            )
        else:
            quarantine_decisions.reject(request.dbsession, product_id, offer_id, body["price"])
    except NoOpenOffer:
        detail = f"The product has no current offer {offer_id}."
        raise Problem(ErrorCode.NOT_FOUND, detail) from None
    offers = orjson.loads(catalog.get(request.dbsession, product_id).offers)
    return json_response(next(offer for offer in offers if offer["id"] == str(offer_id)))
