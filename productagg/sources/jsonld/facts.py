"""What a page says about the product itself."""

from productagg.gtin import normalize_gtin
from productagg.sources.base import ProductFacts
from productagg.sources.jsonld.addresses import resolve
from productagg.sources.jsonld.graph import Thing

_MAX_NAME = 500
_GTINS = frozenset({"gtin13", "gtin", "gtin14", "gtin12", "gtin8", "isbn"})
_NO_GTIN = frozenset({None})
NO_FACTS = ProductFacts()


def gtin_of(*things: Thing) -> str | None:
    """The GTIN; None if there is none with a right check digit, or several that differ."""
    found = {normalize_gtin(text) for thing in things for text in thing.all_texts(_GTINS)} - _NO_GTIN
    return found.pop() if len(found) == 1 else None


def facts_of(thing: Thing, base: str, group: ProductFacts = NO_FACTS, gtin: str | None = None) -> ProductFacts:
    """What a thing states, a variant, or else its group. `base` is what addresses are relative to."""
    return ProductFacts(
        _cut(thing.text("name")) or group.name,
        thing.text("description") or group.description,
        gtin,
        _cut(thing.text("brand", "manufacturer")) or group.brand,
        _cut(thing.text("category")) or group.category,
        _image_url(thing, base) or group.image_url,
    )


def _cut(text: str) -> str | None:
    return text[:_MAX_NAME] or None


def _image_url(thing: Thing, base: str) -> str | None:
    for image in thing.things("image"):
        if text := image.text("contenturl", "url", "@id"):
            return resolve(text, base)
    text = thing.text("image")
    return resolve(text, base) if text else None
