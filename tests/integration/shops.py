"""Products that are observed at times of the test's choice, as a pass would, and the compaction of what that leaves."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from productagg.db.models import HistoryProgress, OfferPrice, OfferPriceDay, ProductPrice, ProductPriceDay, ProductSync
from productagg.history import compaction
from productagg.history.timeline import INSTANT
from productagg.offers.reconcile import Observation, OfferState
from tests.factories import make_product, rows, sync_row
from tests.integration.histories import write_down

OBSERVED_FOR = timedelta(hours=5)

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


def recorded(database):
    """All steps of products and of offers, by table, as committed."""
    return {
        model.__tablename__: rows(database, model)
        for model in (ProductPrice, ProductPriceDay, OfferPrice, OfferPriceDay)
    }
