"""What a correction of an offer's recorded prices makes of its steps, and of its product's. Pure: no database.

For `corrections`. The product's steps are computed from the steps of its offers, as a sync run would have written them.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from productagg.offers.summary import NOTHING_IN_STOCK, Summary, storable, summarise


class OfferPriceStep(NamedTuple):
    """A row of offer_prices: a price in minor units, and the items in stock (see models.OfferPrice)."""

    offer_id: UUID
    at: datetime
    price: int
    items_in_stock: int | None


class ProductPriceStep(NamedTuple):
    """A row of product_prices; the summary of a row that is not observed is empty."""

    at: datetime
    summary: Summary
    observed: bool


def corrected(steps: Iterable[OfferPriceStep], wrong: Collection[datetime], price: int | None) -> list[OfferPriceStep]:
    """An offer's steps with another price at the `wrong` times; None: the price before stays in force.

    `steps` begin with the step before the wrong ones, if there is one, which None needs. Steps that then change nothing
    are left out.
    """
    kept: list[OfferPriceStep] = []
    for step in steps:
        if step.at in wrong:
            step = step._replace(price=kept[-1].price if price is None else price)
        if not kept or kept[-1][2:] != step[2:]:
            kept.append(step)
    return kept


def recomputed(
    before: ProductPriceStep | None,
    in_force: Mapping[UUID, OfferPriceStep],
    offers: Iterable[OfferPriceStep],
    recorded: Iterable[ProductPriceStep],
    times: Iterable[datetime],
) -> list[ProductPriceStep]:
    """A product's steps in a window, from those of all its offers in the catalogue's currency.

    `before` and `in_force` are the product's and the offers' steps before the window, `offers` and `recorded` those in
    it; of the product's recorded steps only the gaps count. `times` are more times at which something may change.
    """
    by_time = {at: list(steps) for at, steps in groupby(sorted(offers, key=_at), key=_at)}
    observed_at = {step.at: step.observed for step in recorded}
    state = dict(in_force)
    last = before
    observed = before is not None and before.observed
    steps: list[ProductPriceStep] = []
    for at in sorted({*by_time, *observed_at, *times}):
        state |= {step.offer_id: step for step in by_time.get(at, ())}
        observed = observed_at.get(at, observed)
        step = ProductPriceStep(at, _summary(state.values()) if observed else NOTHING_IN_STOCK, observed)
        if (last is None and observed) or (last is not None and last[1:] != step[1:]):
            steps.append(step)
            last = step
    return steps


def _summary(state: Iterable[OfferPriceStep]) -> Summary:
    return storable(summarise((step.price, step.items_in_stock) for step in state))


_at = attrgetter("at")
