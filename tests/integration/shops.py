"""Products that are observed at times of the test's choice, as a pass would, and the compaction of what that leaves."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update

from productagg.db.models import (
    HistoryLate,
    HistoryProgress,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
    ProductSync,
)
from productagg.history import compaction
from productagg.history.late import mark
from productagg.history.rollups import (
    OfferStep,
    ProductStep,
    offer_buckets,
    offer_row,
    product_buckets,
    product_row,
    with_gaps,
)
from productagg.history.steps import DAY, HOUR, INSTANT, WEEK, microseconds, moment
from productagg.offers.reconcile import Observation, OfferState
from tests.factories import make_product, rows, sync_row
from tests.integration.histories import write_down

OBSERVED_FOR = timedelta(hours=5)
OF_PRODUCTS = {HOUR: ProductPriceHourly, DAY: ProductPriceDaily, WEEK: ProductPriceWeekly}
OF_OFFERS = {HOUR: OfferPriceHourly, DAY: OfferPriceDaily}

# A Thursday.
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def day(number, hour=0, minute=0):
    """A time on the so-many-th day of the tests' year, from 0."""
    return FIRST + timedelta(days=number, hours=hour, minutes=minute)


class Shop:
    """A product of which lists of offers arrive: `observe(at, {offer_id: (price, items)})`."""

    def __init__(self, database, name="Kettle"):
        self._database = database
        self.product_id = make_product(database, name)

    def observe(self, at, offers):
        last = sync_row(self._database, self.product_id).last_synced_at
        gap = last + INSTANT if last is not None and at - last > OBSERVED_FOR else None
        states = {id_: OfferState(*state) for id_, state in offers.items()}
        observation = Observation(self.product_id, states, at, first=last is None, unobserved_from=gap)
        with self._database.sessions.begin() as session:
            write_down(session, observation)
        self.keep(at)

    def keep(self, until):
        """The same list arrives again and again, until then."""
        with self._database.sessions.begin() as session:
            mine = ProductSync.product_id == self.product_id
            session.execute(update(ProductSync).where(mine).values(last_synced_at=until))


def compact(database, now, raw_days=90, closed_days=3660):
    with database.reader.connect() as reader:
        run = compaction.Compaction(reader, database.sessions, raw_days, OBSERVED_FOR, now, closed_days=closed_days)
        return run.run()


def progress(database):
    (found,) = rows(database, HistoryProgress)
    return found


def late(database):
    """Since when products are late, by product."""
    return {row.product_id: row.since for row in rows(database, HistoryLate)}


def make_late(database, product_id, since):
    with database.sessions.begin() as session:
        mark(session, {product_id: since})


def bucket(database, model, at, **which):
    """The roll-up that begins then."""
    (row,) = rows(database, model, at=at, **which)
    return row


def rolled_up(database):
    """All roll-ups, by table and key, as committed."""
    found = {}
    for model in (*OF_PRODUCTS.values(), *OF_OFFERS.values()):
        keys = [each.name for each in model.__table__.primary_key]
        for row in rows(database, model):
            values = row._asdict()
            found[(model.__tablename__, *(values.pop(key) for key in keys))] = values
    return found


def from_raw(database, until):
    """What the roll-ups should be, directly from all raw rows before a day; weeks that are not over are as they end."""
    products: dict[UUID, list[ProductStep]] = defaultdict(list)
    offers: dict[tuple[UUID, UUID], list[OfferStep]] = defaultdict(list)
    for row in rows(database, ProductPrice):
        if row.observed_at < until:
            step = ProductStep(microseconds(row.observed_at), *row[2:])
            products[row.product_id].append(step)
    for row in rows(database, OfferPrice):
        if row.observed_at < until:
            offers[row.product_id, row.offer_id].append(OfferStep(microseconds(row.observed_at), *row[3:]))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for product_id, steps in products.items():
        for length, table in OF_PRODUCTS.items():
            for product in product_buckets(None, steps, length):
                found[table.__tablename__, product_id, moment(product.lowest.at)] = product_row(product)
    for (product_id, offer_id), own in offers.items():
        for length, model in OF_OFFERS.items():
            for offer in offer_buckets(None, with_gaps(own, products[product_id]), length):
                found[model.__tablename__, product_id, offer_id, moment(offer.price.at)] = offer_row(offer)
    return found
