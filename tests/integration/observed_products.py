"""Products observed at times that the test chooses, as by sync runs, and the compaction of their histories."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, text, update

from productagg.db.models import (
    Base,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    ProductSummary,
)
from productagg.history import compaction
from productagg.history.timeline import INSTANT
from productagg.offers.reconcile import Observation
from tests.factories import make_product, offer_state, rows, sync_row
from tests.integration.offer_history import write_down

OBSERVED_FOR = timedelta(hours=5)

HISTORY: list[type[Base]] = [ProductPrice, ProductPriceDay, OfferPrice, OfferPriceDay]

# A Thursday.
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def day(number, hour=0, minute=0):
    """A time on the so-many-th day of the tests' year, from 0."""
    return FIRST + timedelta(days=number, hours=hour, minutes=minute)


class Shop:
    """A product of which lists of offers arrive: `observe(at, {offer_id: (price, items)})`."""

    def __init__(self, database, name="Kettle", product_id=None):
        self._database = database
        self.product_id = product_id or make_product(database, name)

    def observe(self, at, offers):
        last = sync_row(self._database, self.product_id).last_synced_at
        gap = last + INSTANT if last is not None and at - last > OBSERVED_FOR else None
        states = {id_: offer_state(*state) for id_, state in offers.items()}
        observation = Observation(self.product_id, states, at, first=last is None, unobserved_from=gap)
        with self._database.sessions.begin() as session:
            write_down(session, observation)
            self._synced(session, at)

    def keep(self, until):
        """The same list arrives again and again, until then."""
        with self._database.sessions.begin() as session:
            self._synced(session, until)

    def _synced(self, session, at):
        mine = ProductSource.product_id == self.product_id
        session.execute(update(ProductSource).where(mine).values(last_synced_at=at))


# What a shop consists of. Changes are not copied: the database numbers them.
_COPIED: list[type[Base]] = [Product, ProductSource, ProductSummary, Offer, *HISTORY]


class CopiedShop:
    """A shop that is built once and then copied for each test: to observe a long past takes a second."""

    def __init__(self, build):
        self._build = build
        self._made = {}

    def put(self, database):
        """Put the shop into a database without products."""
        if database.name not in self._made:
            shop = self._build(database)
            self._made[database.name] = (
                shop.product_id,
                {model: [row._asdict() for row in rows(database, model)] for model in _COPIED},
            )
            return shop
        product_id, stored = self._made[database.name]
        with database.writer.begin() as connection:
            for model, values in stored.items():
                if values:
                    connection.execute(insert(model), values)
        return Shop(database, product_id=product_id)


def somebody_waits(database):
    """PostgreSQL: whether anybody waits for a lock."""
    with database.reader.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def compact(database, now, raw_days=90, closed_days=3660):
    with database.reader.connect() as reader:
        run = compaction.Compaction(reader, database.sessions, raw_days, OBSERVED_FOR, now, closed_days=closed_days)
        return run.run()


def progress(database):
    (found,) = rows(database, HistoryProgress)
    return found


def recorded(database):
    """All steps of products and of offers, by table, as committed."""
    return {model.__tablename__: rows(database, model) for model in HISTORY}
