"""What the formats share: an item's fields become the members of an offer, or the reason why it is none.

A price is read once for each way of writing it, and so are words: a feed repeats few of them a million times.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, Protocol

from productagg.currencies import EXPONENTS
from productagg.gtin import normalize_gtin
from productagg.offers.money import to_minor
from productagg.sources.base import Remark
from productagg.sources.prices import NoPrice, is_of_another_currency, parse_amount, parse_price, split_currency

MAX_ID_LENGTH = 200
Fields = dict[str, str]
"""The texts of an item by the names of its format."""
Price = tuple[int, str, bool]
"""Minor units, currency, and whether a part of a minor unit was lost."""
Row = tuple[Any, ...]
"""The members of a SourceOffer in their order; the last one is a tuple of the members of ProductFacts."""

_COMMON_PRICE = re.compile(r"(\d{1,12})\.(\d\d) ([A-Z]{3})", re.ASCII).fullmatch


class Rejected(ValueError):
    """The item is no offer. The text says why, for people."""


@dataclass
class Context:
    """What is known beside the document, and what reading its items shows."""

    seller: str
    currency: str | None
    """Where an item states none."""
    country: str | None
    """Of shipping, ISO 3166."""
    in_stock_days: int
    beyond: Literal["backorder", "out_of_stock"]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    changes_at: datetime | None = None
    """The first time at which the same document says something else: a sale begins or ends."""
    remarks: list[Remark] = field(default_factory=list)

    def changes(self, at: datetime) -> None:
        """Remember that the document means something else from then on."""
        if at > self.now and (self.changes_at is None or at < self.changes_at):
            self.changes_at = at

    def doubt(self, item: str, reason: str) -> None:
        self.remarks.append(Remark(item, reason))


class ItemReader(Protocol):
    """Reads the items of one format."""

    context: Context

    def read(self, fields: Fields, parts: list[Fields], repeated: list[tuple[str, str]]) -> Row:
        """The offer that an item states.

        `parts` are its nested elements about shipping; `repeated` the second and further values of a field. Raises
        Rejected.
        """


def read_id(text: str) -> str:
    """The id, trimmed: 1 to 200 printable characters. Raises Rejected."""
    text = text.strip()
    if not text:
        raise Rejected("it has no id")
    if len(text) > MAX_ID_LENGTH or not text.isprintable():
        raise Rejected(f"its id is longer than {MAX_ID_LENGTH} characters or not printable")
    return text


def stated_price(text: str, currency: str | None) -> Price:
    """A price in a format that is defined with a decimal point. The currency in the text, if any, goes first.

    Raises Rejected.
    """
    # As almost all prices are written: '123.45 EUR'.
    common = _COMMON_PRICE(text)
    if common and (minor := int(common[1] + common[2])) and EXPONENTS.get(common[3]) == 2:
        return minor, common[3], False
    return _stated_price(text, currency)


@lru_cache(maxsize=4096)
def _stated_price(text: str, currency: str | None) -> Price:
    try:
        return parse_price(text, None if split_currency(text)[1] else currency)
    except NoPrice as error:
        raise Rejected(str(error)) from None


@lru_cache(maxsize=4096)
def loose_price(text: str, currency: str | None) -> Price:
    """A price in a format without a rule for separators: read with a point and with a comma, and both must agree.

    Raises Rejected.
    """
    stated = None if split_currency(text)[1] else currency
    found: set[Price] = set()
    reason = ""
    for decimal in ".,":
        try:
            found.add(parse_price(text, stated, decimal=decimal))
        except NoPrice as error:
            reason = str(error)
    if not found:
        raise Rejected(reason)
    if len(found) > 1:
        raise Rejected(f"the price {text!r} can be read in two ways")
    return found.pop()


@lru_cache(maxsize=1024)
def shipping_cost(text: str, currency: str) -> int | None:
    """Minor units; 0 is free. None: it cannot be read, or is in another currency than the offer."""
    number, written = split_currency(text)
    if not number or (written or currency) != currency or is_of_another_currency(text, currency):
        return None
    try:
        return to_minor(parse_amount(number, EXPONENTS[currency]), currency)
    except ValueError:
        return None


def lowest(costs: Iterable[int | None]) -> int | None:
    """The lowest of what is known."""
    return min((cost for cost in costs if cost is not None), default=None)


def read_text(text: str | None) -> str | None:
    """A text for people, or None if there is none. Entities that were escaped twice are resolved."""
    if not text:
        return None
    text = text.strip()
    return (html.unescape(text) if "&" in text and ";" in text else text) or None


def read_url(text: str | None) -> str | None:
    """An address of the web; None for whatever else stands in its place."""
    if not text:
        return None
    text = text.strip()
    # Not html.unescape: it takes the '&copy' of '?a=1&copy=2' for a sign.
    return text.replace("&amp;", "&") if text.startswith(("https://", "http://")) and " " not in text else None


def read_gtin(first: str | None, repeated: Iterable[tuple[str, str]] = (), key: str = "gtin") -> str | None:
    """The first of an item's GTINs that is one."""
    found = normalize_gtin(first) if first else None
    if found is None and repeated:
        found = next((gtin for name, text in repeated if name == key and (gtin := normalize_gtin(text))), None)
    return found


def read_quantity(text: str | None) -> int | None:
    """A number of pieces. None: it is not told, negative, or no number."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def refuse_contradictions(fields: Fields, repeated: Iterable[tuple[str, str]], keys: frozenset[str]) -> None:
    """Raise Rejected if the item says two things about what matters."""
    for key, text in repeated:
        if key in keys and text.strip() != fields[key].strip():
            raise Rejected(f"it has two values of {key}")
