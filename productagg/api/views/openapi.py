"""/openapi.json: the contract, for programs. `openapi` puts together what it says, when it is first asked for."""

from typing import Any

from pyramid.response import Response

from productagg.api.core.service import PUBLIC, no_query, service, unchanging
from productagg.api.openapi import answers

description = service("openapi", "/openapi.json", "About")


@description.get(
    permission=PUBLIC, validators=(no_query,), answers=answers.public("An OpenAPI document.", answers.DOCUMENT)
)
def read_openapi(request: Any) -> Response:
    """This document."""
    return unchanging(request, request.registry["openapi"](), "application/json")
