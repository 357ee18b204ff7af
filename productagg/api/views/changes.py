"""/changes: what happened to products, for clients that keep a copy of the catalogue."""

from typing import TypedDict

from pyramid.response import Response

from productagg.api.core.answers import tagged
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import number
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import NO_CACHE, json_response
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import query
from productagg.api.openapi.schemas import CHANGE
from productagg.catalog import change_feed
from productagg.schema_types import mapping

_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000
_MAX_SEQUENCE = 2**63 - 1


class ChangesQuery(TypedDict):
    since: int
    limit: int


changes_query = query(
    mapping(
        number(
            "since",
            _MAX_SEQUENCE,
            "The number of the last change that you know; 0: none.",
            minimum=0,
            missing=0,
            example=0,
        ),
        number("limit", _MAX_LIMIT, "The maximum number of items.", missing=_DEFAULT_LIMIT, example=2),
    ),
    ChangesQuery,
)

feed = service("changes", "/changes", "Change feed")


@feed.get(
    permission=PUBLIC,
    validators=(changes_query,),
    answers=tagged(
        "The changes after that number; empty if there are none yet.",
        [CHANGE],
        "Cache-Control",
        "Last-Sequence",
        "Next-Cursor?",
        "Link?",
    ),
    errors=(ErrorCode.SEQUENCE_UNKNOWN,),
    head=(
        "read_last_sequence",
        "The number of the newest change, in `Last-Sequence`: note it before you read the catalogue.",
    ),
)
def list_changes(request: Request) -> Response:
    """Products that were created, changed or deleted, or whose offers changed, in commit order.

    After a number, no smaller number ever appears. `Next-Cursor` leads to the next page, `Last-Sequence` is the newest
    number.
    """
    parameters = changes_query.value(request)
    since = parameters["since"]
    try:
        page = change_feed.since(request.reader, since, parameters["limit"])
    except change_feed.UnknownSequence as unknown:
        detail = f"The newest number is {unknown.last}: {since} was never issued."
        raise Problem(ErrorCode.SEQUENCE_UNKNOWN, detail) from None
    next_since = str(page.changes[-1].sequence) if page.more else None
    headers = {"Last-Sequence": str(page.last), **page_headers(request, next_since, parameter="since")}
    return json_response(page.changes, version=page.last, headers=headers, cache_control=NO_CACHE)
