"""The offers in one description of a product, and what identifies each.

An AggregateOffer, or an offer of the whole group, is not one more offer beside those of the variants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from productagg.sources.jsonld.addresses import Address, Choice, address, choice_of
from productagg.sources.jsonld.facts import gtin_of
from productagg.sources.jsonld.graph import Thing
from productagg.sources.vocabulary import Availability, Condition, parse_availability, parse_condition

_MAX_KEY = 200
_MAX_SELLER = 200


@dataclass(eq=False)
class Entry:
    """An offer as it stands on the page."""

    offer: Thing
    product: Thing
    """The variant that it is an offer of, or the product itself."""
    group: Thing
    enclosing: Thing | None
    """The AggregateOffer that it is in."""
    position: int
    """Among the offers of the same description, from 1."""

    @property
    def is_of_variant(self) -> bool:
        return self.product is not self.group

    @property
    def is_range(self) -> bool:
        return "aggregateoffer" in self.offer.types

    @property
    def label(self) -> str:
        """For people."""
        return self.offer.text("name") or f"offer {self.position}"

    @cached_property
    def own_ids(self) -> dict[str, str]:
        """What identifies this offer, and not all offers of the product, by kind; the best first."""
        offer, variant = self.offer, self.product
        if self.is_of_variant:
            sku = offer.text("sku", "productid") or variant.text("sku", "productid")
            id_, gtin = _stable_id(variant) or _stable_id(offer), gtin_of(offer, variant)
        else:
            sku, id_, gtin = offer.text("sku", "productid"), _stable_id(offer), gtin_of(offer)
        choice = "&".join(map("=".join, sorted(self.choice)))
        found = {"sku": sku, "id": id_, "gtin": gtin, "variant": choice}
        return {kind: value for kind, value in found.items() if value}

    @property
    def urls(self) -> list[str]:
        """The addresses, and the ids that may be addresses, of the offer and its variant."""
        own = [*self.offer.texts("url"), self.offer.id]
        return [*own, *self.product.texts("url"), self.product.id] if self.is_of_variant else own

    @property
    def choice(self) -> Choice:
        """The parameters with which its address chooses a variant."""
        for url in self.urls:
            if choice := choice_of(url):
                return choice
        return frozenset()

    @property
    def seller(self) -> str:
        """The seller that the offer states, or ''."""
        for thing in (self.offer, self.enclosing):
            if thing and (text := thing.text("seller", "offeredby")):
                return text[:_MAX_SELLER]
        return ""

    @property
    def condition(self) -> Condition:
        for thing in (self.offer, self.product, self.group):
            found = {parse_condition(text) for text in thing.texts("itemcondition")}
            if len(found) == 1 and found != {"unknown"}:
                return found.pop()
        return "unknown"

    @property
    def availability(self) -> Availability:
        """The offer's own. What the page says of the product as a whole does not hold for each variant."""
        found = {parse_availability(text) for text in self.offer.texts("availability")}
        return found.pop() if len(found) == 1 else "unknown"

    @property
    def key(self) -> str:
        """The offer's id at its source, unless others have the same."""
        ids = self.own_ids or {
            "sku": self.group.text("sku", "productid", "productgroupid"),
            "id": _stable_id(self.group),
            "gtin": gtin_of(self.group) or "",
        }
        kind, value = next(((kind, value) for kind, value in ids.items() if value), ("offer", "1"))
        return _joined([f"{kind}:{value}", *([f"seller:{self.seller}"] if self.seller else [])])

    @property
    def longer_key(self) -> str:
        """For offers with the same key: all that tells them apart but their position."""
        ids = [f"{kind}:{value}" for kind, value in self.own_ids.items()]
        condition = [f"condition:{self.condition}"] if self.condition != "unknown" else []
        name = [f"name:{text}" for text in self.offer.texts("name")[:1]]
        return _joined([self.key, *ids, *condition, *name])

    def is_variant(self, choice: Choice) -> bool:
        """Whether it is of the variant that an address chooses: by its address, or by its id."""
        if any(choice <= choice_of(url) for url in self.urls):
            return True
        ids = {
            text
            for thing in (self.offer, self.product)
            for text in (thing.text("sku"), thing.text("productid"), thing.id)
        }
        return len(choice) == 1 and any(name != "#" and value in ids for name, value in choice)

    def is_at(self, page: Address) -> bool | None:
        """Whether the variant has this address, perhaps with more parameters. None: it states no address of its own."""
        urls = self.product.texts("url") if self.is_of_variant else []
        if not urls:
            return None
        return any(found.path == page.path and page.query <= found.query for found in map(address, urls))

    def could_be(self, other: "Entry") -> bool:
        """Whether nothing tells the two apart: then they are one offer, printed twice."""
        ids = self.own_ids.keys() & other.own_ids.keys()
        return (
            all(self.own_ids[kind] == other.own_ids[kind] for kind in ids)
            and (not self.seller or not other.seller or self.seller == other.seller)
            and (self.condition == other.condition or "unknown" in (self.condition, other.condition))
        )


def entries_of(product: Thing, variants: Sequence[Thing], further: Sequence[Thing] = ()) -> list[Entry]:
    """The offers of one description of a product. `further` are offers that stand elsewhere and name the product."""
    found = [entry for variant in variants for entry in _offers_in(variant, variant.things("offers", "offer"), product)]
    if not found:
        found = _offers_in(product, [*product.things("offers", "offer"), *further], product)
    for position, entry in enumerate(found, 1):
        entry.position = position
    return found


def _offers_in(product: Thing, offers: Sequence[Thing], group: Thing) -> list[Entry]:
    single, ranges = [], []
    for offer in dict.fromkeys(offers):
        inner = offer.things("offers", "offer")
        if inner:
            single += [Entry(thing, _item_of(thing, product), group, offer, 0) for thing in dict.fromkeys(inner)]
        elif "aggregateoffer" in offer.types:
            ranges.append(Entry(offer, product, group, None, 0))
        elif "demand" not in offer.types:
            single.append(Entry(offer, _item_of(offer, product), group, None, 0))
    return single or ranges


def _item_of(offer: Thing, product: Thing) -> Thing:
    """The variant that the offer says it is of."""
    items = [item for item in offer.things("itemoffered") if item.values("sku", "gtin", "gtin13", "name", "url")]
    return items[0] if len(items) == 1 else product


def _stable_id(thing: Thing) -> str:
    """The @id, without its scheme, which shops change. A blank node's means nothing outside of its block."""
    return "" if thing.id.startswith("_:") else thing.id.removeprefix("https:").removeprefix("http:")


def _joined(parts: Sequence[str]) -> str:
    key = "|".join(dict.fromkeys(parts))
    if len(key) <= _MAX_KEY:
        return key
    return f"{key[: _MAX_KEY - 33]}-{blake2b(key.encode(), digest_size=16).hexdigest()}"
