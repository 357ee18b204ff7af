"""Writes a product's past into the database as the sync and compaction leave it, so that a test can read it back."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from hypothesis import HealthCheck, settings
from sqlalchemy import delete, insert, update

from productagg.db.models import (
    HistoryLate,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDaily,
    OfferPriceHourly,
    ProductPrice,
    ProductPriceDaily,
    ProductPriceHourly,
    ProductPriceWeekly,
    ProductSync,
)
from productagg.history.known import Known, known
from productagg.history.reading import Part
from productagg.history.rollups import ProductStep, offer_buckets, offer_row, product_buckets, product_row, with_gaps
from productagg.history.steps import DAY, HOUR, WEEK, microseconds, moment
from tests import scale
from tests.factories import make_product
from tests.reference import OfferRow
from tests.timelines import OBSERVED_FOR, ProductRow, offer_steps

_TABLES = [
    Offer,
    OfferPrice,
    ProductPrice,
    OfferPriceHourly,
    OfferPriceDaily,
    ProductPriceHourly,
    ProductPriceDaily,
    ProductPriceWeekly,
    HistoryLate,
    HistoryProgress,
]


def examples(count: int) -> settings:
    """How many a property test tries. They share the test's fixtures, because each replaces the product's past."""
    return settings(max_examples=scale.examples(count), suppress_health_check=[HealthCheck.function_scoped_fixture])


class PastWriter:
    """One product; each `write` replaces its past."""

    def __init__(self, database):
        self._database = database
        self.product_id = make_product(database)

    def write(
        self,
        rows: Iterable[ProductRow],
        offers: Iterable[OfferRow] = (),
        *,
        synced_at: datetime | None = None,
        rolled_until: datetime | None = None,
        raw_from: datetime | None = None,
    ) -> None:
        """All that is before `rolled_until` is rolled up, the raw rows before `raw_from` are dropped."""
        product = {"product_id": self.product_id}
        rows, offers = list(rows), list(offers)
        written = {
            Offer: [{**product, **offer} for offer in self._offers(offers)],
            ProductPrice: [{**product, **_columns(row)} for row in rows if not raw_from or row.at >= raw_from],
            OfferPrice: [
                {**product, "offer_id": row.id, **_columns(row)} for row in offers if not raw_from or row.at >= raw_from
            ],
        }
        written[HistoryProgress] = [{"id": 1, "rolled_until": rolled_until, "raw_from": raw_from}]
        if rolled_until is not None:
            written |= self._rolled_up(rows, offers, microseconds(rolled_until))
        with self._database.sessions.begin() as session:
            for model in _TABLES:
                session.execute(delete(model))
            mine = update(ProductSync).where(ProductSync.product_id == self.product_id)
            session.execute(mine.values(last_synced_at=synced_at))
            for model, values in written.items():
                if values:
                    session.execute(insert(model), values)

    def known(self, connection, now: datetime, bring: Part | None = None) -> Known:
        found = known(connection, self.product_id, OBSERVED_FOR, now, bring)
        assert found is not None
        return found

    def _offers(self, offers: Sequence[OfferRow]):
        """The offers as they are now."""
        return [
            {
                "id": id_,
                "price": price,
                "items_in_stock": items,
                "first_seen_at": min(row.at for row in offers if row.id == id_),
                "changed_at": at,
                "closed_at": None if items else at,
            }
            for id_, at, price, items in {row.id: row for row in offers}.values()
        ]

    def _rolled_up(self, rows: Sequence[ProductRow], offers: Sequence[OfferRow], until: int):
        steps = [row.step for row in rows if row.step.at < until]
        of_product, of_offers = self._product_rows, self._offer_rows
        return {
            ProductPriceHourly: of_product(steps, HOUR),
            ProductPriceDaily: of_product(steps, DAY),
            ProductPriceWeekly: of_product(steps, WEEK),
            OfferPriceHourly: of_offers(steps, offers, until, HOUR),
            OfferPriceDaily: of_offers(steps, offers, until, DAY),
        }

    def _product_rows(self, steps: Sequence[ProductStep], length: int):
        return [
            {"product_id": self.product_id, "at": moment(bucket.lowest.at), **product_row(bucket)}
            for bucket in product_buckets(None, steps, length)
        ]

    def _offer_rows(self, steps: Sequence[ProductStep], offers: Sequence[OfferRow], until: int, length: int):
        return [
            {
                "product_id": self.product_id,
                "offer_id": offer_id,
                "at": moment(bucket.price.at),
                **offer_row(bucket),
            }
            for offer_id in {row.id for row in offers}
            for bucket in offer_buckets(
                None, with_gaps([each for each in offer_steps(offers, offer_id) if each.at < until], steps), length
            )
        ]


def _columns(row):
    """A row's values by the names of the tables."""
    return {{"at": "observed_at"}.get(name, name): value for name, value in row._asdict().items() if name != "id"}
