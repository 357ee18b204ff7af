"""The headers that lead from one page of a list to the others: `Next-Cursor`, `Prev-Cursor` and `Link`.

Every view that answers in pages calls `page_headers`. Each list decides what its cursors contain.
"""

from pyramid.encode import urlencode

from productagg.api.core.request import Request

# A Link contains both cursors, which also have headers of their own. With this limit, all headers of an answer together
# stay below 4 KB, the least that a common proxy reserves for them (nginx's proxy_buffer_size).
MAX_LINK_BYTES = 1400


def page_headers(
    request: Request,
    next_cursor: str | None,
    previous_cursor: str | None = None,
    *,
    parameter: str = "cursor",
    first: bool = False,
) -> dict[str, str]:
    """The cursors of the pages around this one, and web links (RFC 8288) to these pages. None: there is no such page.

    The cursor is the value of the query parameter named `parameter`; the other parameters stay as they are in the
    request. `first`: link to the first page as well. If the request is so long that Link would exceed MAX_LINK_BYTES,
    it is left out as a whole.
    """
    headers = {}
    if next_cursor is not None:
        headers["Next-Cursor"] = next_cursor
    if previous_cursor is not None:
        headers["Prev-Cursor"] = previous_cursor
    if headers or first:
        link = _link(request, {"next": next_cursor, "prev": previous_cursor}, parameter, first=first)
        if len(link) <= MAX_LINK_BYTES:
            headers["Link"] = link
    return headers


def _link(request: Request, cursors: dict[str, str | None], parameter: str, *, first: bool) -> str:
    query = urlencode([(name, value) for name, value in request.GET.items() if name != parameter])
    url = request.route_url(request.matched_route.name, **request.matchdict) + (f"?{query}" if query else "")
    # Cursors consist of characters that need no encoding in a URL.
    links = [
        f'<{url}{"&" if query else "?"}{parameter}={cursor}>; rel="{relation}"'
        for relation, cursor in cursors.items()
        if cursor is not None
    ]
    if first:
        links.append(f'<{url}>; rel="first"')
    return ", ".join(links)
