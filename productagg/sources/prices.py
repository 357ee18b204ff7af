"""Amounts as shops write them.

A format that is defined with a decimal point (schema.org, Google Merchant, JSON) is often filled in by a template that
writes the shop's locale. What is clear is read; what can be read in two ways is refused: a wrong price is worse than
none.
"""

import re
from decimal import Decimal

from productagg.currencies import EXPONENTS
from productagg.offers.money import exponent, to_minor

_PLAIN = re.compile(r"\d+(?:\.\d+)?")
# The currencies that a symbol stands for.
_SYMBOLS: dict[str, frozenset[str]] = {
    symbol: frozenset(codes.split())
    for symbol, codes in {
        "€": "EUR",
        "Kč": "CZK",
        "zł": "PLN",
        "Ft": "HUF",
        "₹": "INR",
        "₺": "TRY",
        "₴": "UAH",
        "₩": "KRW",
        "£": "GBP EGP FKP GIP LBP SDG SHP SSP SYP",
        "$": (
            "USD ARS AUD BBD BMD BND BOB BRL BSD BZD CAD CLP COP CUP CVE DOP FJD GYD HKD JMD KYD LRD MOP MXN NAD NIO "
            "NZD SBD SGD SRD TOP TTD TWD UYU WST XCD"
        ),
        "¥": "JPY CNY",
        "kr": "SEK NOK DKK ISK",
    }.items()
}
_RENAMED = {"RUR": "RUB"}
# Spaces (no-break, thin, narrow no-break) and apostrophes only group digits.
_SPACES = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_CODE = re.compile(r"(?<![A-Za-z])[A-Za-z]{3}(?![A-Za-z])")
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")
_MAX_LENGTH = 40


class NoPrice(ValueError):
    """The text states no price, or none that can be read in one way only."""


class ZeroPrice(NoPrice):
    """The price is 0, by which shops say that there is none: on request, not for sale."""


def parse_price(text: str, currency: str | None = None, *, decimal: str = ".") -> tuple[int, str, bool]:
    """A price in minor units, its currency, and whether a part of a minor unit was lost (0.847 CZK).

    `currency` is what the source states beside the text (or is configured for the source); a code or symbol within the
    text must agree with it. `decimal` is the format's decimal separator, a point or a comma.

    Raises NoPrice: no number, two numbers, a range, a sign, an ambiguous separator, no currency or two; ZeroPrice.
    """
    number, written = split_currency(text)
    code = _agreed(written, currency)
    if is_of_another_currency(text, code):
        raise NoPrice(f"{text.strip()[:_MAX_LENGTH]!r} is not in {code}, which its currency is said to be")
    # A symbol does not belong into these formats: the shop's template wrote the price for people.
    for_people = written is None and number != text.strip()
    return convert_price(parse_amount(number, exponent(code), decimal=decimal, for_people=for_people), code)


def convert_price(amount: Decimal, currency: str) -> tuple[int, str, bool]:
    """A price in major units of a currency of ISO 4217, as `parse_price` returns it: for sources that send numbers.

    Raises NoPrice, and ZeroPrice if it is less than half a minor unit.
    """
    try:
        minor = to_minor(amount, currency)
    except ValueError as error:
        raise NoPrice(str(error)) from None
    if minor == 0:
        raise ZeroPrice("the price is 0, which stands for 'no price'")
    return minor, currency, _is_lossy(amount, currency)


def normalize_currency(text: str) -> str:
    """A code of ISO 4217 in capitals. Raises NoPrice for whatever is none."""
    code = text.strip().upper()
    code = _RENAMED.get(code, code)
    if code not in EXPONENTS:
        raise NoPrice(f"{text.strip()[:20]!r} is not a currency")
    return code


def split_currency(text: str) -> tuple[str, str | None]:
    """The text without its currency code or symbol, and the code: None if there is none, or one of many meanings."""
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return text, None
    for match in _CODE.finditer(text):
        code = _RENAMED.get(match[0].upper(), match[0].upper())
        if code in EXPONENTS:
            return (text[: match.start()] + " " + text[match.end() :]).strip(), code
    symbol = _symbol(text)
    if symbol is None:
        return text, None
    meanings = _SYMBOLS[symbol]
    return text.replace(symbol, " ", 1).strip(), next(iter(meanings)) if len(meanings) == 1 else None


def is_of_another_currency(text: str, currency: str) -> bool:
    """Whether an amount has no code, but a symbol that never stands for this currency."""
    symbol = _symbol(text)
    return symbol is not None and currency not in _SYMBOLS[symbol] and split_currency(text)[1] is None


def parse_amount(text: str, digits: int, *, decimal: str = ".", for_people: bool = False) -> Decimal:
    """A number in major units of a currency whose minor unit has so many `digits`.

    `for_people`: the text does not follow its format, so a lone point may group thousands. Raises NoPrice.
    """
    text = _SPACES.sub("", text.strip())
    if not (text.isascii() and _NUMBER.fullmatch(text) and len(text) < _MAX_LENGTH):
        raise NoPrice(f"{text[:_MAX_LENGTH]!r} is not one number")
    separators = [char for char in text if char in ".,"]
    if not separators:
        return Decimal(text)
    if len(set(separators)) == 1:
        separator = separators[0]
        if len(separators) > 1:
            return Decimal(_ungrouped(text, separator))
        return _with_one_separator(text, separator, digits, decimal, for_people=for_people)
    last = separators[-1]
    if separators.count(last) > 1:
        raise NoPrice(f"{text!r} mixes its separators")
    whole, _, fraction = text.rpartition(last)
    return Decimal(f"{_ungrouped(whole, separators[0])}.{fraction}")


def _with_one_separator(text: str, separator: str, digits: int, decimal: str, *, for_people: bool) -> Decimal:
    whole, _, fraction = text.partition(separator)
    if len(fraction) != 3:
        return Decimal(f"{whole}.{fraction}")
    # Three digits after it: a fraction, or thousands.
    is_decimal = separator == decimal
    if is_decimal and digits > 0 and not for_people:
        return Decimal(f"{whole}.{fraction}")
    if digits != 3 and (not is_decimal or (for_people and digits == 0)):
        return Decimal(_ungrouped(text, separator))
    raise NoPrice(f"{text!r} can be read in two ways")


def _ungrouped(text: str, separator: str) -> str:
    first, *groups = text.split(separator)
    # A group that begins with 0 ('0.847') is not of thousands.
    if not 1 <= len(first) <= 3 or first[0] == "0" or any(len(group) != 3 for group in groups):
        raise NoPrice(f"{text!r} does not group its digits by three")
    return first + "".join(groups)


def _agreed(written: str | None, stated: str | None) -> str:
    if stated is not None and stated.strip():
        code = normalize_currency(stated)
        if written is not None and written != code:
            raise NoPrice(f"the price is in {written}, and its currency is said to be {code}")
        return code
    if written is None:
        raise NoPrice("the price has no currency")
    return written


def _symbol(text: str) -> str | None:
    return next((symbol for symbol in _SYMBOLS if symbol in text), None)


def _is_lossy(amount: Decimal, currency: str) -> bool:
    """Whether the amount has a few digits more than its currency. Many more are the residue of a float."""
    exponent_of_amount = amount.normalize().as_tuple().exponent
    extra = -exponent_of_amount - EXPONENTS[currency] if isinstance(exponent_of_amount, int) else 0
    return 0 < extra <= 2
