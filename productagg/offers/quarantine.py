"""Quarantine: a price that looks like a glitch is held back until its source has listed it several times.

For `reconcile`, which sees the lists of all sources. Meanwhile the offer keeps its last accepted price, so neither
summaries nor histories know of the other one. Pure: no database.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from productagg.offers.offer_state import OfferState, Quarantined
from productagg.times import format_time

# A price is taken when that many lists have had it, one after the other.
_ENOUGH_LISTS = 3


def held_back(
    stored: Mapping[UUID, OfferState], listed: Mapping[UUID, OfferState], at: datetime, factor: float
) -> dict[UUID, OfferState]:
    """Those of the listed offers of one source that are glitches, with their accepted price and `quarantined`.

    A glitch is a price of 0, or of more than `factor` (above 1) times the accepted price, or less than that share of
    it. Every list with the same price counts, and the third one is believed. Another glitch starts over; any other
    price is taken at once. A new offer has no price to compare with: only 0 is held back. Until that is taken, the
    offer is not in stock.
    """
    found = {}
    for offer_id, state in listed.items():
        before = stored.get(offer_id)
        # Nearly all offers, without another call.
        if before is not None and before.quarantined is None and _is_near(before.price, state.price, factor):
            continue
        held = _held_back(before, state, at, factor)
        if held is not None:
            found[offer_id] = held
    return found


def _held_back(before: OfferState | None, listed: OfferState, at: datetime, factor: float) -> OfferState | None:
    """The offer with its accepted price; None if the listed price is taken."""
    accepted = before.accepted_price if before is not None else None
    pending = before.quarantined if before is not None else None
    quarantined = _next(pending, listed.price, accepted, at, factor)
    if quarantined is None:
        return None
    if accepted is None:
        return listed._replace(availability="unknown", items_in_stock=0, quarantined=quarantined)
    return listed._replace(price=accepted, quarantined=quarantined)


def _next(
    pending: Quarantined | None, price: int, accepted: int | None, at: datetime, factor: float
) -> Quarantined | None:
    """What is held back after another list, which has this price; None if the price is taken."""
    if pending is not None and pending["price"] == price:
        if pending["rejected"]:
            return pending
        seen = pending["seen"] + 1
        return {**pending, "seen": seen} if seen < _ENOUGH_LISTS else None
    if price == accepted:
        return None
    if price == 0:
        return {"price": price, "reason": "zero", "since": format_time(at), "seen": 1, "rejected": False}
    if accepted and not _is_near(accepted, price, factor):
        return {"price": price, "reason": "jump", "since": format_time(at), "seen": 1, "rejected": False}
    # Nothing can be said about the first price after none, or after 0.
    return None


def _is_near(accepted: int, price: int, factor: float) -> bool:
    """Whether both are above 0, and neither is more than `factor` times the other."""
    return 0 < price <= factor * accepted and accepted <= factor * price
