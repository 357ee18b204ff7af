"""/products/{id}/offers/{offer_id}/prices/corrections: an admin corrects recorded prices. For admins."""

from datetime import datetime
from typing import Any, TypedDict

import colander
from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import Answer, tagged
from productagg.api.core.errors import ErrorCode
from productagg.api.core.fields import PRODUCT_ID, QueryText, limit
from productagg.api.core.request import Request
from productagg.api.core.responses import PRIVATE, json_response
from productagg.api.core.service import service
from productagg.api.core.validators import json_body, no_query, product_in_path, query
from productagg.api.openapi.schemas import CORRECTION
from productagg.api.views.prices import OFFER_ID, no_such_offer, offer_in_path
from productagg.catalog.products import NotFound, missing_ids
from productagg.history import UnknownOffer
from productagg.history.corrections import Wrong, correct, corrections
from productagg.offers.money import MAX_AMOUNT
from productagg.schema_types import NO_CONTROL_CHARACTERS, Text, WholeNumber, at_most, mapping, no_control_characters
from productagg.sync.settling import take_over
from productagg.times import parse_time

_MAX_REASON_LENGTH = 500

CorrectionBody = TypedDict("CorrectionBody", {"from": datetime, "until": datetime, "price": int | None, "reason": str})


class CorrectionsQuery(TypedDict):
    limit: int


def _read_time(value: Any) -> datetime:
    return parse_time(value if isinstance(value, str) else "")


def _time(name: str, description: str, example: str) -> colander.SchemaNode:
    return colander.SchemaNode(
        QueryText(
            _read_time, "an RFC 3339 time, such as 2026-01-31T12:00:00Z", {"type": "string", "format": "date-time"}
        ),
        name=name,
        description=description,
        example=example,
        missing_msg="is required",
    )


def _not_blank(node: colander.SchemaNode, value: str) -> None:
    if not value.strip():
        raise colander.Invalid(node, "must not be empty")


correction = json_body(
    mapping(
        _time(
            "from",
            "The prices that were recorded from then on are wrong. A step of the series `raw` says when it was "
            "recorded, in its `at`.",
            "2026-11-23T09:00:00Z",
        ),
        _time("until", "The first time at which the prices are right again.", "2026-11-23T09:30:00Z"),
        colander.SchemaNode(
            WholeNumber(0, MAX_AMOUNT, nullable=True),
            name="price",
            description="The right price, in the offer's currency. Null: the price before stayed in force.",
            example=4990,
            missing_msg="is required",
        ),
        colander.SchemaNode(
            Text(minLength=1, maxLength=_MAX_REASON_LENGTH, pattern=NO_CONTROL_CHARACTERS),
            name="reason",
            description="Why they are wrong, for whoever reads the corrections later.",
            example="The shop listed cents as euros.",
            validator=colander.All(_not_blank, at_most(_MAX_REASON_LENGTH), no_control_characters()),
            missing_msg="is required",
        ),
    ),
    CorrectionBody,
)
corrections_query = query(mapping(limit()), CorrectionsQuery)
price_corrections = service(
    "price_corrections",
    "/products/{id}/offers/{offer_id}/prices/corrections",
    "Price history",
    PRODUCT_ID,
    OFFER_ID,
)


@price_corrections.post(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_in_path, offer_in_path, no_query, correction),
    answers=(Answer("The correction.", CORRECTION, 201),),
    errors=(ErrorCode.CANNOT_CORRECT,),
)
def correct_prices(request: Request) -> Response:
    """Correct recorded prices of an offer. The product's own prices and what derives from them follow."""
    product_id, offer_id, body = product_in_path.value(request), offer_in_path.value(request), correction.value(request)
    assert request.identity is not None  # the permission check was before
    if not take_over(request.dbsession, product_id):
        raise NotFound(product_id)
    wrong = Wrong(product_id, offer_id, body["from"], body["until"], body["price"])
    try:
        correct(request.dbsession, wrong, body["reason"], request.identity.username)
    except UnknownOffer:
        raise no_such_offer(offer_id) from None
    (made,) = corrections(request.dbsession.connection(), product_id, offer_id, 1)
    return json_response(_json(made), status=201)


@price_corrections.get(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_in_path, offer_in_path, corrections_query),
    answers=tagged("The corrections.", [CORRECTION], "Cache-Control", "Vary"),
)
def list_corrections(request: Request) -> Response:
    """The newest corrections of an offer's prices, the last one first."""
    product_id, offer_id = product_in_path.value(request), offer_in_path.value(request)
    if missing_ids(request.reader, [product_id]):
        raise NotFound(product_id)
    found = corrections(request.reader, product_id, offer_id, corrections_query.value(request)["limit"])
    return json_response([_json(made) for made in found], headers={"Vary": "Authorization"}, cache_control=PRIVATE)


def _json(made: Any) -> dict[str, Any]:
    return {
        "id": made.id,
        "at": made.at,
        "username": made.username,
        "from": made.wrong_from,
        "until": made.wrong_until,
        "currency": made.currency,
        "price": made.price,
        "reason": made.reason,
        "changes": made.changes,
    }
