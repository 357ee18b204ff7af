"""From a page's bytes to the offers of the product that it is about, or to the reason why there are none."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from productagg.sources.base import Failure, Remark, Snapshot
from productagg.sources.jsonld import microdata, opengraph
from productagg.sources.jsonld.addresses import Address, address, host_of, resolve
from productagg.sources.jsonld.blocks import Damaged, parse_block
from productagg.sources.jsonld.entries import Entry
from productagg.sources.jsonld.graph import Graph, clean_text
from productagg.sources.jsonld.offers import Context, Taken, take
from productagg.sources.jsonld.page import Elements, scan, to_utf8
from productagg.sources.jsonld.products import NoProduct, choose
from productagg.sources.prices import NoPrice, normalize_currency, parse_price
from productagg.sources.web import NO_VALIDATORS, Validators

_MAX_SELLER = 200


class Options(NamedTuple):
    """The source's configuration."""

    seller: str | None = None
    """Of offers that name none."""
    currency: str | None = None
    """Of prices without any."""
    country: str | None = None
    """Where shipping goes to."""


class Page(NamedTuple):
    """A page as it was fetched."""

    body: bytes
    content_type: str
    """The header's value, or ''."""
    url: str
    """After redirects."""
    validators: Validators = NO_VALIDATORS


@dataclass
class _Doubts:
    """Why the offers may not be everything, and what is odd about the page."""

    reasons: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def read_page(page: Page, locator: str, options: Options) -> Snapshot | Failure:
    """The offers of the product that the page is about. Never raises."""
    body = to_utf8(page.body, page.content_type)
    elements = scan(body)
    doubts = _Doubts()
    linked_data = list(_linked_data(elements, doubts))
    base = resolve(elements.base or "", page.url) or page.url
    canonical = resolve(elements.canonical, base) if elements.canonical else None
    asked = address(locator)
    pages = [asked, address(page.url), *([address(canonical)] if canonical else [])]
    if pages[1].page != asked.page:
        if not pages[1].path:
            return Failure("the page redirects to the shop's first page: the product is gone", "redirected")
        doubts.remarks.append(Remark("page", f"it redirects to {page.url[:200]}"))
    try:
        graph, descriptions = _descriptions(body, elements, linked_data, asked, pages)
    except NoProduct as error:
        return Failure("; ".join([error.reason, *doubts.reasons]), error.code)
    context = Context(
        locator=locator,
        base=base,
        page=locator if asked.variant else canonical or page.url,
        seller=options.seller or _site_name(elements) or host_of(page.url),
        currency=options.currency,
        country=options.country,
    )
    taken = take(descriptions, context)
    graph.forget()
    return _outcome(taken, elements, doubts, page.validators)


def _linked_data(elements: Elements, doubts: _Doubts) -> Iterator[Any]:
    """The values of all blocks. A block that cannot be read is skipped, for itself."""
    for number, content in enumerate(elements.blocks, 1):
        concerns_offers = b"offer" in content.lower()
        try:
            block = parse_block(content)
        except Damaged as error:
            doubts.remarks.append(Remark(f"block {number}", f"it is damaged and was skipped: {error}"))
            if concerns_offers:
                doubts.reasons.append(f"block {number} of JSON-LD is damaged")
            continue
        if block.is_guess and concerns_offers:
            doubts.reasons.append(f"quotation marks or brackets in block {number} of JSON-LD do not match")
        yield from block.values
    if elements.unfinished_blocks:
        doubts.reasons.append("the page ends within a block of JSON-LD")


def _descriptions(
    body: bytes, elements: Elements, linked_data: Sequence[Any], asked: Address, pages: Sequence[Address]
) -> tuple[Graph, list[list[Entry]]]:
    """The offers of each description of the product, in the first format that has some. Raises NoProduct."""
    first_error: NoProduct | None = None
    for values in _formats(body, elements, linked_data):
        try:
            graph = Graph(values)
            chosen = choose(graph, pages)
            found = [entries for description in chosen if (entries := description.entries)]
            if found:
                return graph, _of_variant(found, asked, pages)
            error = NoProduct("the page's product has no offer in its structured data", "no_offer")
        except NoProduct as no_product:
            error = no_product
        if error.code in ("ambiguous_product", "variant_not_found"):
            raise error
        first_error = first_error or error
    raise first_error or NoProduct("the page has no structured data about a product", "no_product")


def _formats(body: bytes, elements: Elements, linked_data: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """What the page says in each format, the best first. Microdata costs a tree: only if it is needed."""
    if linked_data:
        yield linked_data
    if items := microdata.items(body):
        yield items
    if product := opengraph.product(elements.properties):
        yield [product]


def _of_variant(descriptions: Sequence[list[Entry]], asked: Address, pages: Sequence[Address]) -> list[list[Entry]]:
    """Only the offers of the variant that the locator names, or that has this page to itself. Raises NoProduct."""
    if asked.variant:
        found = _filtered(descriptions, lambda entry: entry.is_variant(asked.variant))
        if not found:
            named = ", ".join(f"{name}={value}" for name, value in sorted(asked.variant))
            raise NoProduct(
                f"the locator names a variant ({named[:100]}), and no offer of the page says that it is this one's",
                "variant_not_found",
            )
        return found
    if not any(entry.product.values("url") for entries in descriptions for entry in entries if entry.is_of_variant):
        return list(descriptions)
    for page in pages:
        if any(entry.is_at(page) for entries in descriptions for entry in entries):
            return _filtered(descriptions, partial(_is_not_elsewhere, page))
    return list(descriptions)


def _is_not_elsewhere(page: Address, entry: Entry) -> bool:
    return entry.is_at(page) is not False


def _filtered(descriptions: Sequence[list[Entry]], keep: Callable[[Entry], bool]) -> list[list[Entry]]:
    kept = [[entry for entry in entries if keep(entry)] for entries in descriptions]
    return [entries for entries in kept if entries]


def _outcome(taken: Taken, elements: Elements, doubts: _Doubts, validators: Validators) -> Snapshot | Failure:
    doubtful = [refused for refused in taken.refusals if refused.code != "no_price"]
    if doubtful and not taken.offers:
        return Failure("; ".join([doubtful[0].reason, *doubts.reasons]), doubtful[0].code)
    if contradiction := _contradiction(taken, elements):
        return Failure(contradiction, "contradiction")
    reasons = list(doubts.reasons)
    if doubtful:
        reasons.append(f"{len(doubtful)} of {len(taken.offers) + len(taken.rejected)} offers could not be read")
    return Snapshot(
        offers=taken.offers,
        complete=not reasons,
        validators=validators,
        rejected=taken.rejected,
        remarks=[*doubts.remarks, *taken.remarks, *_another_price(taken, elements)],
        incomplete_because="; ".join(reasons) or None,
    )


def _contradiction(taken: Taken, elements: Elements) -> str | None:
    """A page that tells others another currency for the same product labels one of the two wrong (gumroad PR#5281)."""
    stated = {_currency(text) for text in opengraph.currencies(elements.properties)} - {None}
    offered = {offer.currency for offer in taken.offers}
    if not stated or not offered or stated & offered:
        return None
    return (
        f"the page contradicts itself: its offers are in {', '.join(sorted(offered))}, and OpenGraph says "
        f"{', '.join(sorted(filter(None, stated)))}"
    )


def _another_price(taken: Taken, elements: Elements) -> list[Remark]:
    """A note where OpenGraph states a price that no offer has: with or without VAT, or before a sale."""
    currency = next(iter(opengraph.currencies(elements.properties)), None)
    amounts = opengraph.amounts(elements.properties)
    if not amounts or not taken.offers:
        return []
    try:
        minor, code, _ = parse_price(amounts[0], currency)
    except NoPrice:
        return []
    if any((offer.price, offer.currency) == (minor, code) for offer in taken.offers):
        return []
    return [Remark("page", f"OpenGraph states another price, {minor} {code} (in minor units)")]


def _currency(text: str) -> str | None:
    try:
        return normalize_currency(text)
    except NoPrice:
        return None


def _site_name(elements: Elements) -> str | None:
    names = elements.properties.get("og:site_name")
    return clean_text(names[0])[:_MAX_SELLER] or None if names else None
