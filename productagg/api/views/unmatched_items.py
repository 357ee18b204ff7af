"""/sources/{id}/unmatched: the items of a source's document that belong to no product. For admins."""

from typing import TypedDict

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import tagged
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import cursor, limit, uuid_parameter
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import PRIVATE, json_response
from productagg.api.core.service import service
from productagg.api.core.validators import path_uuid, query
from productagg.api.openapi.schemas import UNMATCHED_ITEM
from productagg.schema_types import mapping
from productagg.sync import unmatched_items

_SOURCE_ID = uuid_parameter("id", "a source's", "The source's id.", example="019aa3f0-2d5b-7c11-8e42-7b9d0a1c3e5f")


class UnmatchedQuery(TypedDict):
    limit: int
    cursor: str | None


def _no_such_source(source_id: object) -> Problem:
    return Problem(ErrorCode.NOT_FOUND, f"There is no source {source_id}.")


unmatched_query = query(
    mapping(limit(), cursor("With the source's next document, it goes on at the same place of that.")), UnmatchedQuery
)
source_in_path = path_uuid("id", _no_such_source, ErrorCode.NOT_FOUND)

source_unmatched = service("source_unmatched", "/sources/{id}/unmatched", "Sources", _SOURCE_ID)


@source_unmatched.get(
    permission=Permission.EDIT_CATALOGUE,
    validators=(source_in_path, unmatched_query),
    answers=tagged("A page of items.", [UNMATCHED_ITEM], "Cache-Control", "Vary", "Next-Cursor?", "Link?"),
    errors=(ErrorCode.INVALID_CURSOR,),
)
def list_unmatched(request: Request) -> Response:
    """The items of the source's newest complete document that belong to no product, in the order of the document.

    The first 1,000 of them are kept. A source of single products has none.
    """
    source_id, parameters = source_in_path.value(request), unmatched_query.value(request)
    after = 0 if parameters["cursor"] is None else _read_cursor(parameters["cursor"])
    try:
        page = unmatched_items.page(request.reader, source_id, parameters["limit"], after)
    except unmatched_items.NoSuchSource:
        raise _no_such_source(source_id) from None
    headers = page_headers(request, None if page.following is None else str(page.following))
    return json_response(
        page.items,
        tagged_by=headers.values(),
        headers={**headers, "Vary": "Authorization"},
        cache_control=PRIVATE,
    )


def _read_cursor(cursor: str) -> int:
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= len(str(unmatched_items.KEPT)):
        return int(cursor)
    raise Problem(ErrorCode.INVALID_CURSOR, "This cursor was not issued by this service.")
