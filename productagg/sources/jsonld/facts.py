"""What a page says about the product itself."""

from productagg.sources.base import ProductFacts
from productagg.sources.gtin import normalize_gtin
from productagg.sources.jsonld.addresses import resolve
from productagg.sources.jsonld.graph import Thing

_MAX_NAME = 500
_GTINS = ("gtin13", "gtin", "gtin14", "gtin12", "gtin8", "isbn")


def gtin_of(*things: Thing) -> str | None:
    """The GTIN; None if there is none with a right check digit, or several that differ."""
    found = {
        gtin for thing in things for name in _GTINS for text in thing.texts(name) if (gtin := normalize_gtin(text))
    }
    return found.pop() if len(found) == 1 else None


def facts_of(described: list[Thing], *, gtin: str | None, base: str) -> ProductFacts:
    """The facts, each from the first of these things that states it: the variant, then its group."""

    def first(*names: str) -> str | None:
        return next((text for thing in described if (text := thing.text(*names))), None)

    image = next((url for thing in described if (url := _image_url(thing, base))), None)
    return ProductFacts(
        name=_cut(first("name")),
        description=first("description"),
        gtin=gtin,
        brand=_cut(first("brand", "manufacturer")),
        category=_cut(first("category")),
        image_url=image,
    )


def _cut(text: str | None) -> str | None:
    return text[:_MAX_NAME] if text else None


def _image_url(thing: Thing, base: str) -> str | None:
    for value in thing.things("image"):
        if text := value.text("contenturl", "url", "@id"):
            return resolve(text, base)
    return next((resolve(text, base) for text in thing.scalars("image") if text), None)
