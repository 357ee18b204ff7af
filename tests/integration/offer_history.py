"""Products with a past: makes them, reads back what is stored of their offers, and replays their histories."""

from itertools import groupby
from operator import attrgetter
from uuid import UUID

from productagg.db.models import Offer, OfferPrice, ProductPrice
from productagg.offers import reconcile
from tests.factories import make_due, make_products, rows


def offer_to_all(upstream, product_ids, states):
    for product_id in product_ids:
        upstream.offer(product_id, states)


def make_synced(database, upstream, run, count, old, new):
    """Products with the offers `old` from an earlier pass; they are due, and `new` is now offered for each of them."""
    product_ids = make_products(database, count)
    offer_to_all(upstream, product_ids, old)
    assert run().exit_code == 0
    offer_to_all(upstream, product_ids, new)
    make_due(database)
    return product_ids


def write_down(session, *observations):
    """What a sync run does with lists of offers; returns what they change, by product."""
    stored = reconcile.read_stored(session, [each.product_id for each in observations])
    changes = reconcile.plan_updates(stored, observations)
    reconcile.apply_updates(session, changes.values())
    return changes


def recorded(database, product_id):
    """Every row about the product's offers: the current ones and both histories."""
    return [rows(database, model, product_id=product_id) for model in (Offer, OfferPrice, ProductPrice)]


def stored(database, product_id):
    """The current offers: price and stock by id."""
    return {
        row.id: (row.price, row.items_in_stock)
        for row in rows(database, Offer, product_id=product_id)
        if row.closed_at is None
    }


def replay(database, product_id):
    """Every state that the offers' history goes through: price and stock by id, of vanished offers with stock 0."""
    state: dict[UUID, tuple[int, int]] = {}
    states = []
    history = sorted(rows(database, OfferPrice, product_id=product_id), key=attrgetter("observed_at"))
    for _, observed in groupby(history, attrgetter("observed_at")):
        state = state | {row.offer_id: (row.price, row.items_in_stock) for row in observed}
        states.append(state)
    return states


def summaries(database, product_id):
    """The product's history without its times, oldest first: lowest, average, offers, items in stock."""
    history = sorted(rows(database, ProductPrice, product_id=product_id), key=attrgetter("observed_at"))
    return [(row.lowest, row.average, row.offers, row.items_in_stock) for row in history]
