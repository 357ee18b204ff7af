"""The headers that lead from one page of a list to the others: `Next-Cursor`, `Prev-Cursor` and `Link`.

Every view that answers a list in pages calls `page_headers`. What a cursor says is each list's own business.
"""

from typing import Any

from pyramid.encode import urlencode

# A Link holds both cursors, which also have headers of their own. At this length all headers of an answer together stay
# below 4 KB, the least that a common proxy sets aside for them (nginx's proxy_buffer_size).
MAX_LINK_BYTES = 1400


def page_headers(
    request: Any,
    following: str | None,
    previous: str | None = None,
    *,
    parameter: str = "cursor",
    first: bool = False,
) -> dict[str, str]:
    """The cursors of the pages around this one, and web links (RFC 8288) to these pages; None: there is no such page.

    The cursor is the value of the query parameter named `parameter`, all other parameters stay as the request has them.
    It consists of characters that a URL takes as they are. `first`: link to the first page as well. A Link that is
    longer than MAX_LINK_BYTES, as the request itself is long, is left out as a whole.
    """
    if following is None and previous is None and not first:
        return {}
    given = urlencode([(name, value) for name, value in request.GET.items() if name != parameter])
    url = f"{request.route_url(request.matched_route.name, **request.matchdict)}{given and '?'}{given}"
    cursors = {"next": following, "prev": previous}
    links = [
        f'<{url}{"&" if given else "?"}{parameter}={cursor}>; rel="{name}"'
        for name, cursor in cursors.items()
        if cursor is not None
    ]
    if first:
        links.append(f'<{url}>; rel="first"')
    link = ", ".join(links)
    headers = {f"{name.capitalize()}-Cursor": cursor for name, cursor in cursors.items() if cursor is not None}
    if len(link) <= MAX_LINK_BYTES:
        headers["Link"] = link
    return headers
