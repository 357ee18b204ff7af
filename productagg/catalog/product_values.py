"""The values of a product that its editors set: name and description, and facts, of which any may be unknown."""

from typing import TypedDict


class Facts(TypedDict, total=False):
    """What is known of a product. None: not known."""

    gtin: str | None
    brand: str | None
    category: str | None
    image_url: str | None


class ProductValues(Facts, total=False):
    """The values that a change gives a product; the others stay."""

    name: str
    description: str


FACTS = ("gtin", "brand", "category", "image_url")
