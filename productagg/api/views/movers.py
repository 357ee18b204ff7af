"""/movers: whose price moved most."""

from typing import Any

from pyramid.response import Response

from productagg.api.core.schemas import MOVERS
from productagg.api.core.service import PUBLIC, observed_for, public_json, query, service
from productagg.api.openapi.answers import MOVER, public
from productagg.db import clock
from productagg.history.movers import movers

catalogue_movers = service("movers", "/movers", "Price history")


@catalogue_movers.get(
    permission=PUBLIC, validators=(query(MOVERS),), answers=public("Those products, or none.", [MOVER])
)
def list_movers(request: Any) -> Response:
    """The in-stock products whose price fell, or rose, most in a period; the largest move first."""
    observed_since = clock.now(request.reader) - observed_for(request)
    return public_json(request, movers(request.reader, observed_since=observed_since, **request.validated))
