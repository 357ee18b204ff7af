"""The words in which sources state availability and condition.

The union of schema.org's (data/schema.ttl: ItemAvailability, OfferItemCondition) and Google Merchant's
(support.google.com/merchants/answer/6324448 and 6324469), which agree where they share a word. schema.org's may be bare
or an address, of https or http; letters' case, spaces, `_` and `-` make no difference.
"""

from typing import Literal

Availability = Literal["in_stock", "out_of_stock", "preorder", "backorder", "discontinued", "unknown"]
Condition = Literal["new", "refurbished", "used", "unknown"]

_AVAILABILITIES: dict[str, Availability] = {
    "instock": "in_stock",
    "onlineonly": "in_stock",
    "limitedavailability": "in_stock",
    "instoreonly": "in_stock",
    "outofstock": "out_of_stock",
    "soldout": "out_of_stock",
    "reserved": "out_of_stock",
    "preorder": "preorder",
    "presale": "preorder",
    "backorder": "backorder",
    "madetoorder": "backorder",
    "discontinued": "discontinued",
}
_CONDITIONS: dict[str, Condition] = {
    "new": "new",
    "newcondition": "new",
    "refurbished": "refurbished",
    "refurbishedcondition": "refurbished",
    "used": "used",
    "usedcondition": "used",
    "damagedcondition": "used",
}
_SEPARATORS = str.maketrans("", "", " _-\t\r\n\xa0")


def parse_availability(text: str) -> Availability:
    """`unknown` for an empty text and for words that are not in the vocabulary: unknown is not in stock."""
    return _AVAILABILITIES.get(_word(text), "unknown")


def parse_condition(text: str) -> Condition:
    """`unknown` for an empty text and for words that are not in the vocabulary."""
    return _CONDITIONS.get(_word(text), "unknown")


def _word(text: str) -> str:
    return text.strip().rstrip("/").rpartition("/")[2].translate(_SEPARATORS).lower()
