"""JSON values of single fields, as members of an offer. Each function raises ValueError, with the reason for people."""

import html
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin

from productagg import text_rules
from productagg.gtin import normalize_gtin
from productagg.offers.money import exponent, to_minor
from productagg.sources.json_api.expressions import json_type
from productagg.sources.prices import (
    NoPrice,
    convert_price,
    is_of_another_currency,
    normalize_currency,
    parse_amount,
    parse_price,
    split_currency,
)
from productagg.sources.vocabulary import Availability, Condition, parse_availability, parse_condition

MAX_ID_LENGTH = 200
_MAX_URL_LENGTH = 2000
_MAX_SCALE = 9
# A double holds so many decimal digits exactly: a number of more was another one in the JSON.
_EXACT_DIGITS = 15
# More items than anybody has.
_MAX_QUANTITY = 10**9
# What cannot be stored; line breaks and tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def read_text(value: Any) -> str | None:
    """A text for people; None if it is empty. Shops escape their texts for HTML even in JSON: entities are resolved."""
    text = _plain_text(value)
    if "&" in text:
        text = html.unescape(text)
    return _CONTROL.sub(" ", text).strip() or None


def read_id(value: Any) -> str:
    """An id: 1 to 200 printable characters."""
    text = _plain_text(value).strip()
    if not (0 < len(text) <= MAX_ID_LENGTH and text.isprintable()):
        raise ValueError(f"it must have 1 to {MAX_ID_LENGTH} characters, all of them printable")
    return text


def read_address(value: Any, base: str) -> str | None:
    """An address of http(s), absolute or relative to `base`; None if it is empty."""
    text = _plain_text(value).strip()
    if not text:
        return None
    # Not html.unescape: it takes the '&copy' of '?a=1&copy=2' for a sign.
    address = urljoin(base, text.replace("&amp;", "&").replace(" ", "%20"))
    is_usable = address.startswith(("https://", "http://")) and len(address) <= _MAX_URL_LENGTH
    if not is_usable or text_rules.has_control(address):
        raise ValueError("it is not an address of the web")
    return address


def read_gtin(value: Any) -> str | None:
    """A GTIN; None for whatever else stands in its place."""
    return normalize_gtin(_plain_text(value))


def read_condition(value: Any) -> Condition:
    """`unknown` for words that are not in the vocabulary."""
    return parse_condition(_plain_text(value))


def read_availability(value: Any, meanings: Mapping[str, Availability]) -> Availability:
    """`meanings` are the source's own values, as texts. Else true and false are in stock or not, or it is a word."""
    text = str(value).lower() if isinstance(value, bool) else _plain_text(value).strip()
    if text in meanings:
        return meanings[text]
    if isinstance(value, bool):
        return "in_stock" if value else "out_of_stock"
    if isinstance(value, str):
        return parse_availability(text)
    raise ValueError(f"{text[:20]} has no meaning: see availability_values")


def read_quantity(value: Any) -> int:
    """A number of items."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = _plain_text(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < _MAX_QUANTITY):
        raise ValueError(f"{text[:20]!r} is not a number of items")
    return int(text)


def read_scale(value: Any) -> int:
    """How many of a price's last digits are decimals."""
    text = _plain_text(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) == 1 and int(text) <= _MAX_SCALE):
        raise ValueError(f"{text[:20]!r} is not a number of decimals")
    return int(text)


def read_price(value: Any, currency: str | None, price_format: str, scale: int | None) -> tuple[int, str, bool]:
    """A price in minor units, its currency, and whether a part of a minor unit was lost.

    `currency` is what the item or the configuration says; `scale` goes with the price format `scaled`. Raises NoPrice,
    and ZeroPrice if it is 0.
    """
    if price_format == "decimal" and isinstance(value, str):
        return parse_price(value, currency)
    if currency is None:
        raise NoPrice("the price has no currency")
    code = normalize_currency(currency)
    return convert_price(_amount(value, code, price_format, scale), code)


def read_shipping(value: Any, currency: str, price_format: str, scale: int | None) -> int:
    """Shipping costs in minor units of the offer's currency; 0 is free."""
    if price_format == "decimal" and isinstance(value, str):
        number, written = split_currency(value)
        if written not in (None, currency) or is_of_another_currency(value, currency):
            raise ValueError(f"it is {value[:20]!r}, and the price in {currency}")
        return to_minor(parse_amount(number, exponent(currency)), currency)
    return to_minor(_amount(value, currency, price_format, scale), currency)


def _plain_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"it is {json_type(value)}, not a text")


def _amount(value: Any, currency: str, price_format: str, scale: int | None) -> Decimal:
    """A number in major units."""
    if price_format == "decimal":
        return _decimal(value, exponent(currency))
    digits = exponent(currency) if scale is None else scale
    return Decimal(_whole_number(value)).scaleb(-digits)


def _decimal(value: Any, digits: int) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoPrice(f"it is {json_type(value)}")
    # The shortest text that stands for the same double: what the source wrote.
    amount = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    if isinstance(value, float) and amount.adjusted() + 1 + digits > _EXACT_DIGITS:
        raise NoPrice(f"{value} is too large to be read exactly")
    return amount


def _whole_number(value: Any) -> int:
    """A fraction, even .0, says that the number is not of minor units."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise NoPrice(f"it is {json_type(value)}, not a whole number")
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise NoPrice(f"{text[:20]!r} is not a whole number")
    return int(text)
