"""The offers of the page's product: each once, with a price, and an id that tells it from the others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from productagg.sources.base import ProductFacts, Remark, SourceOffer
from productagg.sources.jsonld.addresses import resolve
from productagg.sources.jsonld.entries import Entry
from productagg.sources.jsonld.facts import facts_of, gtin_of
from productagg.sources.jsonld.graph import Thing
from productagg.sources.jsonld.pricing import Currencies, Price, Refused, price_of, shipping_of
from productagg.sources.vocabulary import Availability, Condition

# More items than anybody has.
_MAX_DIGITS = 9
_MOST_SHARING = 20


class Context(NamedTuple):
    """What an offer is read with."""

    locator: str
    base: str
    """The address that relative ones are relative to."""
    page: str
    """The address of offers that state none."""
    seller: str
    """Of offers that state none."""
    currency: str | None
    """Of prices without any; None: such prices are refused."""
    country: str | None
    """Where shipping goes to: a code of ISO 3166-1. None: shipping is not told."""


@dataclass
class Taken:
    """The offers that were read, and those that were not."""

    offers: list[SourceOffer] = field(default_factory=list)
    rejected: list[Remark] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)
    """Why the rejected were rejected."""


@dataclass(eq=False)
class _Read:
    """An entry and its price, or why it has none. Entries that are the same offer become one."""

    entry: Entry
    outcome: Price | Refused
    availability: Availability
    condition: Condition
    seller: str
    remarks: list[str] = field(default_factory=list)

    def merge(self, other: "_Read") -> None:
        """Take what the other says of the same offer. What they disagree on is not known."""
        self.outcome = _agreed(self.outcome, other.outcome)
        self.seller = self.seller or other.seller
        if self.condition == "unknown":
            self.condition = other.condition
        if self.availability != other.availability and other.availability != "unknown":
            if self.availability == "unknown":
                self.availability = other.availability
            else:
                self.availability = "unknown"
                self.remarks.append("the page states two availabilities for it")


def _agreed(first: Price | Refused, second: Price | Refused) -> Price | Refused:
    if isinstance(first, Refused):
        # A description without a price contradicts none that has one.
        return second if first.code == "no_price" else first
    if isinstance(second, Refused):
        return first if second.code == "no_price" else second
    if first[:2] == second[:2]:
        return first
    stated = " and ".join(f"{price.minor} {price.currency}" for price in (first, second))
    return Refused(f"the page states two prices for it: {stated} (in minor units)", "contradiction")


class _Merging:
    """Collects the offers of all descriptions of the product, each offer once."""

    def __init__(self) -> None:
        self.reads: list[_Read] = []
        self.remarks: list[Remark] = []
        self._by_id: dict[tuple[str, str], list[_Read]] = {}

    def add(self, description: Sequence[_Read]) -> None:
        before = list(self.reads)
        for read in description:
            twin = self._twin_by_id(read) or _twin_by_place(read, description, before)
            if twin:
                twin.merge(read)
            elif read.entry.own_ids or not before:
                self._append(read)
            elif not read.entry.is_range:
                reason = "another description of the product states this offer without an id: it is left out"
                self.remarks.append(Remark(read.entry.label, reason))

    def _append(self, read: _Read) -> None:
        self.reads.append(read)
        for id_ in read.entry.own_ids.items():
            self._by_id.setdefault(id_, []).append(read)

    def _sharing(self, id_: tuple[str, str]) -> Sequence[_Read]:
        """The offers with this id; none if too many have it: then it identifies nothing."""
        sharing = self._by_id.get(id_, ())
        return sharing if len(sharing) < _MOST_SHARING else ()

    def _twin_by_id(self, read: _Read) -> _Read | None:
        return next(
            (
                other
                for id_ in read.entry.own_ids.items()
                for other in self._sharing(id_)
                if other.entry.could_be(read.entry)
            ),
            None,
        )


def _twin_by_place(read: _Read, description: Sequence[_Read], before: Sequence[_Read]) -> _Read | None:
    """The offer at the same place in an earlier description with as many offers, if there is no doubt which it is."""
    if len(description) != len(before) or (len(before) > 1 and read.entry.own_ids):
        return None
    other = before[description.index(read)]
    return other if other.entry.could_be(read.entry) else None


def take(descriptions: Sequence[Sequence[Entry]], context: Context) -> Taken:
    """Read the offers. A product may be described several times: it does not have more offers for that."""
    merging = _Merging()
    # Descriptions that identify their offers first: the others' can be compared with them.
    for entries in sorted(descriptions, key=lambda entries: -sum(bool(entry.own_ids) for entry in entries)):
        merging.add([_read(entry, context) for entry in entries])
    taken = Taken(remarks=merging.remarks)
    groups = {read.entry.group for read in merging.reads}
    group_facts = {group: facts_of(group, context.base) for group in groups}
    for read, external_id in zip(merging.reads, _external_ids(merging.reads), strict=True):
        if isinstance(read.outcome, Refused):
            taken.rejected.append(Remark(external_id, read.outcome.reason))
            taken.refusals.append(read.outcome)
        else:
            taken.offers.append(_source_offer(read, read.outcome, external_id, group_facts[read.entry.group], context))
            taken.remarks += [Remark(external_id, reason) for reason in (*read.outcome.remarks, *read.remarks)]
    return taken


def _read(entry: Entry, context: Context) -> _Read:
    enclosing = entry.enclosing.text("pricecurrency") if entry.enclosing else ""
    outcome: Price | Refused
    try:
        outcome = price_of(entry.offer, Currencies(enclosing, context.currency))
    except Refused as refused:
        outcome = refused
    return _Read(entry, outcome, entry.availability, entry.condition, entry.seller)


def _external_ids(reads: Sequence[_Read]) -> list[str]:
    """An id for each offer, no two the same. One that is rejected now has an id too, so that the others keep theirs."""
    ids = [read.entry.key for read in reads]
    for longer in (_longer_key, _key_with_position):
        count = Counter(ids)
        ids = [longer(read) if count[id_] > 1 else id_ for read, id_ in zip(reads, ids, strict=True)]
    return ids


def _longer_key(read: _Read) -> str:
    return read.entry.longer_key


def _key_with_position(read: _Read) -> str:
    read.remarks.append("nothing but its position on the page tells it from another offer")
    return f"{read.entry.key}|position:{read.entry.position}"


def _source_offer(read: _Read, price: Price, external_id: str, group: ProductFacts, context: Context) -> SourceOffer:
    entry = read.entry
    gtin = _gtin(entry)
    return SourceOffer(
        locator=context.locator,
        external_id=external_id,
        price=price.minor,
        currency=price.currency,
        seller=read.seller or context.seller,
        url=_url(entry, context),
        condition=read.condition,
        availability=read.availability,
        items_in_stock=_items_in_stock(entry.offer),
        shipping=shipping_of(entry.offer, context.country, price.currency),
        product=facts_of(entry.product, context.base, group, gtin)
        if entry.is_of_variant
        else group._replace(gtin=gtin),
    )


def _url(entry: Entry, context: Context) -> str:
    for thing in (entry.offer, entry.product, entry.group):
        if (text := thing.text("url")) and (url := resolve(text, context.base)):
            return url
    return context.page


def _gtin(entry: Entry) -> str | None:
    """The variant's; the product's only if this is not one of its variants."""
    own = entry.own_ids.get("gtin")
    if own or entry.is_of_variant:
        return own
    sku = entry.offer.text("sku")
    return gtin_of(entry.group) if sku in ("", entry.group.text("sku")) else None


def _items_in_stock(offer: Thing) -> int | None:
    levels = offer.scalars("inventorylevel") or [level.text("value") for level in offer.things("inventorylevel")]
    level = levels[0].removesuffix(".0") if len(levels) == 1 else ""
    return int(level) if level.isascii() and level.isdigit() and len(level) <= _MAX_DIGITS else None
