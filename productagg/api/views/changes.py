"""/changes: what happened to products, for whoever keeps a copy of the catalogue."""

from typing import Any

from pyramid.response import Response

from productagg.api.core.errors import Problem
from productagg.api.core.pagination import page_headers
from productagg.api.core.schemas import CHANGES
from productagg.api.core.service import PUBLIC, query, service, tagged_json
from productagg.api.openapi.answers import CHANGE, tagged
from productagg.catalog import change_feed

feed = service("changes", "/changes", "Change feed")


@feed.get(
    permission=PUBLIC,
    validators=(query(CHANGES),),
    answers=tagged(
        "The changes after that one, or none yet.", [CHANGE], "Cache-Control", "Last-Sequence", "Next-Cursor?", "Link?"
    ),
    errors=("sequence-unknown",),
    head=(
        "read_last_sequence",
        "The number of the newest change, in `Last-Sequence`: note it before you read the catalogue.",
    ),
)
def list_changes(request: Any) -> Response:
    """Products that were created, changed or deleted and whose offers changed, in the order in which that came to be.

    After a number, none that is smaller ever comes. `Next-Cursor` leads to the next page, `Last-Sequence` is the newest
    number.
    """
    since, limit = request.validated["since"], request.validated["limit"]
    try:
        page = change_feed.since(request.reader, since, limit)
    except change_feed.UnknownSequence as unknown:
        raise Problem("sequence-unknown", f"The newest number is {unknown.last}, so nobody was told {since}.") from None
    response = tagged_json(page.changes, page.last)
    response.cache_control = "no-cache"
    response.headers["Last-Sequence"] = str(page.last)
    following = str(page.changes[-1].sequence) if page.more else None
    response.headers.update(page_headers(request, following, parameter="since"))
    return response
