"""/openapi.json: the contract, for programs. The package `api.openapi` makes the document."""

from pyramid.response import Response

from productagg.api.core.answers import public
from productagg.api.core.request import Request
from productagg.api.core.responses import JSON, digest_once, public_cache_control, respond
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import no_query
from productagg.api.openapi import schemas

description = service("openapi", "/openapi.json", "About")


@description.get(permission=PUBLIC, validators=(no_query,), answers=public("An OpenAPI document.", schemas.DOCUMENT))
def read_openapi(request: Request) -> Response:
    """This document."""
    document = request.services.openapi()
    cache_control = public_cache_control(request)
    return respond(document, JSON, etag=digest_once(document), cache_control=cache_control, unchanging=True)
