"""/openapi.json: the contract, for programs. `openapi` puts together what it says, when it is first asked for."""

from typing import Any

from pyramid.response import Response

from productagg.api import contract
from productagg.api.service import PUBLIC, no_query, service, unchanging

description = service("openapi", "/openapi.json", "About")


@description.get(
    permission=PUBLIC, validators=(no_query,), answers=contract.public("An OpenAPI document.", contract.DOCUMENT)
)
def read_openapi(request: Any) -> Response:
    """This document."""
    return unchanging(request, request.registry["openapi"](), "application/json")
