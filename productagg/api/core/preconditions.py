"""Conditional requests to the letter of RFC 9110, 13: what a request demands of what is there, and whether that holds.

The tween asks for the `outcome` of every GET. What a PATCH or DELETE of a product `demands`, a validator reads and the
catalogue looks at, under its lock (docs/decisions/0002-if-match.md). WebOb's own are not used: they overlook `*` and
tags that follow a comma without a space, and take what is not quoted for a tag.
"""

import re
from collections.abc import Container, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

# What `*` stands for, where versions are compared.
EVERY_VERSION = range(1 << 63)

_TAG = re.compile(r'(W/)?"([^"]*)"')
# The one that is sent, and the two that old clients send (RFC 9110, 5.6.7).
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_DATED = frozenset({"HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"})
_HEADERS = _DATED | {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}


def are_in(environ: Mapping[str, Any]) -> bool:
    return not environ.keys().isdisjoint(_HEADERS)


def name_a_time(environ: Mapping[str, Any]) -> bool:
    """Whether Last-Modified matters to them."""
    return not environ.keys().isdisjoint(_DATED)


def outcome(environ: Mapping[str, Any], tag: str | None, modified: datetime | None) -> int | None:
    """What becomes of a GET whose answer would be 200, in the order of 13.2.2: 412, 304, or None if it stays so.

    `tag` is the answer's strong entity tag without the quotes, `modified` its Last-Modified.
    """
    wanted, known = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    if wanted is not None:
        if not (_is_any(wanted) or tag in tags(wanted)):
            return 412
    elif modified is not None:
        since = date(environ.get("HTTP_IF_UNMODIFIED_SINCE"))
        if since is not None and modified > since:
            return 412
    if known is not None:
        if _is_any(known) or tag in tags(known, weak=True):
            return 304
    elif modified is not None:
        since = date(environ.get("HTTP_IF_MODIFIED_SINCE"))
        if since is not None and modified <= since:
            return 304
    return None


def demands(environ: Mapping[str, Any]) -> dict[str, Any]:
    """What a write demands of the product, as `catalog.change` and `catalog.remove` take it."""
    wanted, unwanted = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    return {
        "versions": None if wanted is None else _versions(wanted),
        "other_than": () if unwanted is None else _versions(unwanted, weak=True),
        # Not looked at beside If-Match.
        "unmodified_since": date(environ.get("HTTP_IF_UNMODIFIED_SINCE")) if wanted is None else None,
    }


def tags(given: str, *, weak: bool = False) -> list[str]:
    """The entity tags of a list, without quotes; those marked as weak only if they will do."""
    return [tag for mark, tag in _TAG.findall(given) if weak or not mark]


def date(text: str | None) -> datetime | None:
    """An HTTP-date; None if there is none, or what there is is not one and has to be ignored."""
    if text is not None:
        for form in _DATES:
            with suppress(ValueError):
                return datetime.strptime(text, form).replace(tzinfo=UTC)
    return None


def _is_any(given: str) -> bool:
    return given.strip() == "*"


def _versions(given: str, *, weak: bool = False) -> Container[int]:
    """The product versions in a list of tags, `"<version>-…"`."""
    if _is_any(given):
        return EVERY_VERSION
    found = (tag.partition("-") for tag in tags(given, weak=weak))
    return [int(version[:18]) for version, dash, _ in found if dash and version.isascii() and version.isdecimal()]
