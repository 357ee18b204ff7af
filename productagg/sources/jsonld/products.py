"""The product that a page is about, among all products on it: related ones, lists, the same one described twice."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from productagg.gtin import normalize_gtin
from productagg.sources.jsonld.addresses import Address, address, is_page, resembles_page
from productagg.sources.jsonld.entries import Entry, entries_of
from productagg.sources.jsonld.graph import Graph, Node, Thing

# schema.org's Product and what is one (data/schema.ttl), and books, which are not, but are sold.
_PRODUCTS = {
    "product",
    "productgroup",
    "productmodel",
    "individualproduct",
    "someproducts",
    "productcollection",
    "dietarysupplement",
    "drug",
    "vehicle",
    "car",
    "motorcycle",
    "motorizedbicycle",
    "busorcoach",
    "book",
}
_LISTS = {"itemlistelement", "hasoffercatalog", "haspart"}
_MAX_PRODUCTS = 2000
_MAX_SHOWN = 3


class NoProduct(ValueError):
    """No product can be chosen. `reason` is for people, `code` for statistics."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


@dataclass(eq=False)
class Description:
    """A product on the page, with what belongs to it."""

    product: Thing
    is_main: bool = False
    """A WebPage names it as its main entity."""
    is_listed: bool = False
    """It stands in a list of products."""
    variants: list[Thing] = field(default_factory=list)
    offers: list[Thing] = field(default_factory=list)
    """Offers that stand outside of the product and name it."""

    @cached_property
    def entries(self) -> list[Entry]:
        return entries_of(self.product, self.variants, self.offers)

    @property
    def addresses(self) -> list[Address]:
        """The addresses that the product states as its own."""
        stated = self.product.texts("url")
        if not stated:
            things = [*self.variants, *self.product.things("offers"), *self.offers]
            stated = [url for thing in things for url in thing.texts("url")]
        return [address(url) for url in stated]

    @property
    def identities(self) -> set[tuple[str, str]]:
        """What two descriptions of the same product share."""
        product = self.product
        found = {
            ("id", product.id),
            ("sku", product.text("sku")),
            ("group", product.text("productgroupid", "inproductgroupwithid")),
            ("name", product.text("name").casefold()),
            *(("gtin", normalize_gtin(text) or "") for text in product.texts("gtin", "gtin13", "gtin12")),
        }
        return {(kind, value) for kind, value in found if value}


def choose(graph: Graph, pages: Sequence[Address]) -> Sequence[Description]:
    """The product that the page is about: all descriptions of it that have offers, or one without.

    `pages` are the page's addresses: its own, the canonical one, the one that was asked for. The product is, in this
    order, the main entity of the page; the one whose mainEntityOfPage or address is the page's; whose address resembles
    the page's; the only one that states no address. Raises NoProduct if there is none, or not only one.
    """
    descriptions = describe(graph)
    if not descriptions:
        raise NoProduct("the page has no product in its structured data", "no_product")
    ranked: dict[int, list[Description]] = {}
    for description in descriptions:
        ranked.setdefault(_rank(description, pages), []).append(description)
    for rank in sorted(ranked.keys() - {_OTHER}):
        found = ranked[rank]
        others = [other for rank_, others in ranked.items() if rank < rank_ < _OTHER for other in others]
        return _only(found, others)
    names = _names(descriptions)
    if all(description.is_listed for description in descriptions):
        raise NoProduct(f"the page lists products ({names}) and is about none of them", "no_product")
    raise NoProduct(f"the products on the page ({names}) have other addresses than the page", "no_product")


_MAIN, _ENTITY_OF_PAGE, _PAGE, _RESEMBLES, _SILENT, _OTHER = range(6)


def _rank(description: Description, pages: Sequence[Address]) -> int:
    """How well the product states that the page is about it: the less, the better."""
    if description.is_main:
        return _MAIN
    product = description.product
    if any(is_page(address(text), pages) for text in product.texts("mainentityofpage") if "/" in text):
        return _ENTITY_OF_PAGE
    stated = description.addresses
    if any(is_page(found, pages) for found in (*stated, address(product.id)) if found.path):
        return _PAGE
    if description.is_listed:
        return _OTHER
    if not stated:
        return _SILENT
    return _RESEMBLES if any(resembles_page(found, pages) for found in stated) else _OTHER


def _only(best: Sequence[Description], others: Sequence[Description]) -> Sequence[Description]:
    """The best descriptions, if they are of one product, and those of the others that are of the same product.

    Only those with offers, if any has some.
    """
    same = _same_as(best[0], [*best, *others])
    offering = [description for description in same if description.entries]
    different = [description for description in best if description not in same and description.entries]
    if different and offering:
        raise NoProduct(
            f"the page has several products ({_names([best[0], *different])}) and does not say which it is about",
            "ambiguous_product",
        )
    if different:
        return _only(different, others)
    return offering or [best[0]]


def _same_as(first: Description, descriptions: Iterable[Description]) -> list[Description]:
    known = first.identities
    same = [first]
    for description in descriptions:
        if description is not first and known & description.identities:
            same.append(description)
    return same


def _names(descriptions: Sequence[Description]) -> str:
    names = [description.product.text("name")[:60] or "without a name" for description in descriptions]
    more = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def describe(graph: Graph) -> list[Description]:
    """All products on the page that may be its own: not those that another product names as related to it."""
    found: dict[Thing, Description] = {}
    for thing, name, is_listed in _walk(graph):
        if thing.types & _PRODUCTS:
            description = found.setdefault(thing, Description(thing, is_listed=is_listed))
            description.is_main |= name == "mainentity"
            description.is_listed &= is_listed
        elif "offer" in thing.types:
            for item in thing.things("itemoffered"):
                if item.types & _PRODUCTS:
                    found.setdefault(item, Description(item)).offers.append(thing)
        if len(found) > _MAX_PRODUCTS:
            break
    return _with_variants(found)


def _walk(graph: Graph) -> Iterator[tuple[Thing, str, bool]]:
    """The things on the page down to its products, in order, with the property they are values of."""
    seen: set[tuple[Thing, str]] = set()
    unvisited: list[tuple[Node, str, bool]] = [(node, "", False) for node in reversed(_roots(graph.roots))]
    while unvisited:
        node, name, is_listed = unvisited.pop()
        thing = graph.thing(node)
        if (thing, name) in seen or "breadcrumblist" in thing.types:
            continue
        seen.add((thing, name))
        yield thing, name, is_listed
        if thing.types & _PRODUCTS or "offer" in thing.types:
            continue
        inner = [(value, key, is_listed or key in _LISTS) for key, value in thing.nodes()]
        unvisited.extend(reversed(inner))


def _roots(values: Iterable[object]) -> list[Node]:
    found: list[Node] = []
    unopened = list(values)[::-1]
    while unopened:
        value = unopened.pop()
        if isinstance(value, list):
            unopened.extend(reversed(value))
        elif isinstance(value, dict):
            found.append(value)
    return found


def _with_variants(found: dict[Thing, Description]) -> list[Description]:
    """The products, with variants in their groups: those that a group names, and those that name a group."""
    groups: dict[str, Description] = {}
    for thing, description in found.items():
        description.variants = [
            variant for variant in dict.fromkeys(thing.things("hasvariant")) if variant is not thing
        ]
        for key in _group_keys(thing):
            groups.setdefault(key, description)
        for variant in description.variants:
            description.is_main |= variant in found and found[variant].is_main
    variants = {variant for description in found.values() for variant in description.variants}
    for thing, description in list(found.items()):
        group = _group_of(thing, groups)
        if group and group is not description:
            group.variants += [] if thing in group.variants else [thing]
            group.is_main |= description.is_main
            variants.add(thing)
    return [description for thing, description in found.items() if thing not in variants]


def _group_keys(thing: Thing) -> list[str]:
    keys = [thing.id, thing.text("productgroupid")] if "productgroup" in thing.types else []
    return [key for key in keys if key]


def _group_of(thing: Thing, groups: dict[str, Description]) -> Description | None:
    """The group on the page whose variant the thing says it is."""
    named = [thing.text("inproductgroupwithid")]
    for group in thing.things("isvariantof"):
        named += [group.id, group.text("productgroupid")]
    return next((groups[key] for key in named if key in groups), None)
