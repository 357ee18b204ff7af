"""Conditional requests to the letter of RFC 9110, 13: reading the conditions, and whether they hold.

The tween asks for the `outcome` of every GET. The preconditions of a PATCH or DELETE are read by a validator and
checked by the catalogue, under its lock (docs/decisions/0002-if-match.md). WebOb's own implementation is not used: it
overlooks `*` and tags that follow a comma without a space, and takes unquoted text for a tag.
"""

import re
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

# The versions that `*` stands for.
EVERY_VERSION = range(1 << 63)

_TAG = re.compile(r'(W/)?"([^"]*)"')
# The format that servers must send, and two that old clients send (RFC 9110, 5.6.7).
_DATE_FORMATS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_TIME_HEADERS = frozenset({"HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"})
_HEADERS = _TIME_HEADERS | {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}
# More digits than a version has.
_MAX_VERSION_DIGITS = 18

Environ = Mapping[str, Any]


@dataclass(frozen=True)
class Preconditions:
    """The conditions of a write, as `catalog.change` and `catalog.remove` take them."""

    versions: Container[int] | None
    other_than: Container[int]
    unmodified_since: datetime | None


def has_preconditions(environ: Environ) -> bool:
    return not environ.keys().isdisjoint(_HEADERS)


def needs_last_modified(environ: Environ) -> bool:
    """Whether a condition compares Last-Modified."""
    return not environ.keys().isdisjoint(_TIME_HEADERS)


def outcome(environ: Environ, tag: str | None, modified: datetime | None) -> Literal[412, 304] | None:
    """The status of a GET whose answer would be 200, in the order of 13.2.2: 412, 304, or None: it stays 200.

    `tag` is the answer's strong entity tag without the quotes, `modified` its Last-Modified.
    """
    if _precondition_fails(environ, tag, modified):
        return 412
    return 304 if _is_unmodified(environ, tag, modified) else None


def _precondition_fails(environ: Environ, tag: str | None, modified: datetime | None) -> bool:
    if_match = environ.get("HTTP_IF_MATCH")
    if if_match is not None:
        return not (_is_any(if_match) or tag in tags(if_match))
    since = parse_date(environ.get("HTTP_IF_UNMODIFIED_SINCE"))
    return modified is not None and since is not None and modified > since


def _is_unmodified(environ: Environ, tag: str | None, modified: datetime | None) -> bool:
    if_none_match = environ.get("HTTP_IF_NONE_MATCH")
    if if_none_match is not None:
        return _is_any(if_none_match) or tag in tags(if_none_match, weak=True)
    since = parse_date(environ.get("HTTP_IF_MODIFIED_SINCE"))
    return modified is not None and since is not None and modified <= since


def read_preconditions(environ: Environ) -> Preconditions:
    """The preconditions of a write."""
    if_match, if_none_match = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
    return Preconditions(
        versions=None if if_match is None else _versions(if_match),
        other_than=() if if_none_match is None else _versions(if_none_match, weak=True),
        # Ignored beside If-Match.
        unmodified_since=parse_date(environ.get("HTTP_IF_UNMODIFIED_SINCE")) if if_match is None else None,
    )


def tags(header: str, *, weak: bool = False) -> list[str]:
    """The entity tags in a header, without quotes; `weak`: weak tags as well."""
    return [tag for mark, tag in _TAG.findall(header) if weak or not mark]


def parse_date(text: str | None) -> datetime | None:
    """An HTTP-date. None if there is none, or if it is invalid and must be ignored."""
    if text is not None:
        for date_format in _DATE_FORMATS:
            with suppress(ValueError):
                return datetime.strptime(text, date_format).replace(tzinfo=UTC)
    return None


def _is_any(header: str) -> bool:
    return header.strip() == "*"


def _versions(header: str, *, weak: bool = False) -> Container[int]:
    """The product versions in a list of tags, `"<version>-…"`."""
    if _is_any(header):
        return EVERY_VERSION
    versions = (_version(tag) for tag in tags(header, weak=weak))
    return [version for version in versions if version is not None]


def _version(tag: str) -> int | None:
    version, dash, _ = tag.partition("-")
    is_version = dash and version.isascii() and version.isdecimal()
    return int(version[:_MAX_VERSION_DIGITS]) if is_version else None
