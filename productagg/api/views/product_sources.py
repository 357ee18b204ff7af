"""/products/{id}/sources: which sources a product's offers come from. For admins."""

from typing import TypedDict

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import Answer, tagged
from productagg.api.core.errors import ErrorCode
from productagg.api.core.fields import PRODUCT_ID, uuid_parameter
from productagg.api.core.request import Request
from productagg.api.core.responses import PRIVATE, json_response, respond
from productagg.api.core.service import service
from productagg.api.core.validators import json_body, no_query, path_uuid, product_in_path
from productagg.api.openapi.schemas import LINK
from productagg.api.views.sources import SOURCE_EXAMPLE, refusing_values
from productagg.sync import source_admin
from productagg.sync.source_admin import SourceNotFound
from productagg.sync.source_schema import LINK as LINK_BODY

_SOURCE_ID = uuid_parameter("source_id", "a source's", "The source's id.", example=SOURCE_EXAMPLE)
_source_in_path = path_uuid("source_id", SourceNotFound, ErrorCode.SOURCE_NOT_FOUND)


class LinkBody(TypedDict):
    locator: str


link_body = json_body(LINK_BODY, LinkBody)

product_sources = service("product_sources", "/products/{id}/sources", "Sources", PRODUCT_ID)
product_source = service("product_source", "/products/{id}/sources/{source_id}", "Sources", PRODUCT_ID, _SOURCE_ID)


@product_sources.get(
    permission=Permission.MANAGE_SOURCES,
    validators=(product_in_path, no_query),
    answers=tagged("The product's sources.", [LINK], "Cache-Control", "Vary"),
)
def list_product_sources(request: Request) -> Response:
    """The sources of a product, by name: what it is there, and how its last requests went."""
    found = source_admin.links(request.reader, product_in_path.value(request))
    listed = [link._asdict() for link in found]
    return json_response(listed, headers={"Vary": "Authorization"}, cache_control=PRIVATE)


@product_source.put(
    permission=Permission.MANAGE_SOURCES,
    validators=(product_in_path, _source_in_path, no_query, link_body),
    answers=(
        Answer("The product had the source already; its locator is this one now.", LINK, headers=("ETag",)),
        Answer("The product has the source now.", LINK, 201, headers=("ETag",)),
    ),
    errors=(ErrorCode.SOURCE_FROM_SETTINGS,),
)
def link_source(request: Request) -> Response:
    """Make a source one of a product's, or change what the product is there. It is fetched in the next sync run."""
    product_id, source_id = product_in_path.value(request), _source_in_path.value(request)
    with refusing_values(kind="/locator"):
        is_new = source_admin.link(request.dbsession, product_id, source_id, link_body.value(request)["locator"])
    found = source_admin.links(request.dbsession, product_id)
    [stored] = [link for link in found if link.source_id == source_id]
    return json_response(stored._asdict(), status=201 if is_new else 200)


@product_source.delete(
    permission=Permission.MANAGE_SOURCES,
    validators=(product_in_path, _source_in_path, no_query),
    answers=(Answer("The product does not have the source any more.", None, 204),),
    errors=(ErrorCode.SOURCE_FROM_SETTINGS,),
)
def unlink_source(request: Request) -> Response:
    """Remove a source from a product, and close its offers there. Their histories stay."""
    source_admin.unlink(
        request.dbsession,
        product_in_path.value(request),
        _source_in_path.value(request),
        request.services.observed_for,
    )
    return respond(None, status=204)
