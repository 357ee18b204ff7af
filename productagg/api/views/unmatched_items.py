"""/sources/{id}/unmatched: the items of a source's document that belong to no product. For admins."""

from typing import TypedDict

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import tagged
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import cursor, limit
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import PRIVATE, json_response
from productagg.api.core.service import service
from productagg.api.core.validators import query
from productagg.api.openapi.schemas import UNMATCHED_ITEM
from productagg.api.views.sources import SOURCE_ID, source_in_path
from productagg.schema_types import mapping
from productagg.sync import unmatched_items


class UnmatchedQuery(TypedDict):
    limit: int
    cursor: str | None


unmatched_query = query(
    mapping(limit(), cursor("With the source's next document, it goes on at the same place of that.")), UnmatchedQuery
)

source_unmatched = service("source_unmatched", "/sources/{id}/unmatched", "Sources", SOURCE_ID)


@source_unmatched.get(
    permission=Permission.MANAGE_SOURCES,
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
    page = unmatched_items.page(request.reader, source_id, parameters["limit"], after)
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
