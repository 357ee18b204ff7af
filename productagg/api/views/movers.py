"""/movers: the products whose price moved most."""

from typing import Literal, TypedDict

from pyramid.response import Response

from productagg.api.core.answers import public
from productagg.api.core.fields import choice, limit
from productagg.api.core.request import Request
from productagg.api.core.responses import json_response, public_cache_control
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import query
from productagg.api.openapi.schemas import MOVER
from productagg.db import clock
from productagg.history.movers import PERIODS, movers
from productagg.schema_types import mapping


class MoversQuery(TypedDict):
    period: str
    direction: Literal["down", "up"]
    limit: int


movers_query = query(
    mapping(
        choice("period", tuple(PERIODS), "How far back the earlier price lies.", missing="24h"),
        choice("direction", ("down", "up"), "Whether the price fell or rose.", missing="down"),
        limit(),
    ),
    MoversQuery,
)

catalogue_movers = service("movers", "/movers", "Price history")


@catalogue_movers.get(
    permission=PUBLIC, validators=(movers_query,), answers=public("The products; empty if there are none.", [MOVER])
)
def list_movers(request: Request) -> Response:
    """The in-stock products whose price fell, or rose, most in a period; the largest move first."""
    parameters = movers_query.value(request)
    listed = movers(
        request.reader,
        period=parameters["period"],
        direction=parameters["direction"],
        limit=parameters["limit"],
        at=clock.now(request.reader),
        observed_for=request.services.observed_for,
    )
    return json_response(listed, cache_control=public_cache_control(request))
