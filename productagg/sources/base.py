"""The contract of an adapter: how one kind of source is asked for offers.

An adapter is an entry point in the group `productagg.sources`; the entry point's name is the source's kind. It speaks
to a source and knows no database. `docs/adapters.md` writes one, step by step.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Protocol

import colander

from productagg.sources.vocabulary import Availability, Condition
from productagg.sources.web import NO_VALIDATORS, Validators, Web


class ProductFacts(NamedTuple):
    """What a source says about the product itself: to match an item by its GTIN, or to make a product of it."""

    name: str | None = None
    description: str | None = None
    gtin: str | None = None
    """Digits with a right check digit (see gtin.py); otherwise None."""
    brand: str | None = None
    category: str | None = None
    image_url: str | None = None


NO_FACTS = ProductFacts()


class SourceOffer(NamedTuple):
    """An offer, as a source states it."""

    locator: str
    """Which of the source's products it is an offer of."""
    external_id: str
    """What identifies the offer at its source, among all offers of the same product: no two have the same."""
    price: int
    """Minor units of `currency`; never 0 where the format uses 0 as a placeholder for 'no price'."""
    currency: str
    """A code of ISO 4217. An adapter never assumes one: the source states it, or its configuration does."""
    seller: str
    url: str | None = None
    condition: Condition = "unknown"
    availability: Availability = "unknown"
    items_in_stock: int | None = None
    """None: the source does not say how many. That is not 0."""
    shipping: int | None = None
    """Minor units of `currency`. None: the source does not say; 0: free."""
    product: ProductFacts | None = None


class Remark(NamedTuple):
    """Something odd about one item, for people: why it was rejected, or how it was understood."""

    item: str
    """The item's id, or where it stands."""
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Offers that a source has now. The snapshots of one fetch add up; the last one says whether they are everything.

    If the last is `complete`, offers that were in none of them are gone, and the sync closes them. An adapter says so
    only if it has read the source to its end and nothing raised doubts.
    """

    offers: Sequence[SourceOffer]
    complete: bool
    validators: Validators = NO_VALIDATORS
    rejected: Sequence[Remark] = ()
    """Items that cannot be offers. Each fails alone: the other items are valid."""
    remarks: Sequence[Remark] = ()
    """Offers that were understood, with a doubt."""
    incomplete_because: str | None = None
    """Why the offers may not be everything, for the source's status."""


@dataclass(frozen=True, slots=True)
class NotModified:
    """Nothing has changed since the version that the validators stand for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The source could not be read. What was read before stays valid, and nothing is closed."""

    reason: str
    """For people, in one sentence."""
    code: str
    """A word for statistics, such as `status_503` or `not_a_feed`."""
    retry_at: datetime | None = None
    """Before this time, the source wants no request."""


Outcome = Snapshot | NotModified | Failure


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch."""

    configuration: Mapping[str, Any]
    """The source's configuration, as its adapter's schema deserialized it."""
    source_name: str
    """The seller, where neither the source nor its configuration names one."""
    locators: Iterable[str]
    """For an adapter of single products exactly one; for one of whole documents those of all linked products."""
    web: Web
    """Makes the HTTP requests, within the deadline and to permitted addresses only."""
    secret: str | None = field(default=None, repr=False)
    validators: Validators = NO_VALIDATORS


class Adapter(Protocol):
    """One kind of source. The entry point is a class; an instance has no state."""

    title: ClassVar[str]
    """For people: 'Product page with schema.org data'."""
    whole_document: ClassVar[bool]
    """Whether one fetch returns the offers of all products (a feed), or one product's (a page)."""
    configuration_schema: ClassVar[type[colander.MappingSchema]]
    """Of the source's configuration, without its secret."""
    locator: ClassVar[str]
    """What the locator of a product is, in a few words: 'URL of the product's page'."""

    def check_locator(self, locator: str) -> str:
        """The locator in its normal form. Raises ValueError, with the reason for people."""

    def fetch(self, request: Request) -> Iterator[Outcome]:
        """Ask the source. Yields snapshots, of which the last decides; or NotModified; a Failure ends it.

        It raises nothing for what a source may do: bad input is a Failure, or rejects one item.
        """
