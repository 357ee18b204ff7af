"""Writes a product's past into the database as the sync and compaction leave it, so that a test can read it back."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from sqlalchemy import delete, insert, update

from productagg.db.models import (
    OFFERS_SOURCE,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
)
from productagg.history import day_summaries
from productagg.history.move_steps import move_steps
from tests import scale
from tests.factories import make_product
from tests.history_strategies import ProductRow
from tests.reference_statistics import OfferRow

_TABLES = [Offer, OfferPrice, OfferPriceDay, ProductPrice, ProductPriceDay, HistoryProgress]


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
        raw_from: datetime | None = None,
        fewest_replaced: int = 1,
    ) -> None:
        """Days before `raw_from` are compacted; they are summarised if that replaces so many steps."""
        product = {"product_id": self.product_id}
        offers = list(offers)
        written = {
            Offer: [{**product, **offer} for offer in self._offers(offers)],
            ProductPrice: [{**product, **_columns(row)} for row in rows],
            OfferPrice: [{**product, "offer_id": row.id, **_columns(row)} for row in offers],
            HistoryProgress: [{"id": 1, "raw_from": raw_from}],
        }
        with self._database.sessions.begin() as session:
            for model in _TABLES:
                session.execute(delete(model))
            mine = update(ProductSource).where(ProductSource.product_id == self.product_id)
            session.execute(mine.values(last_synced_at=synced_at))
            for model, values in written.items():
                if values:
                    session.execute(insert(model), values)
            if raw_from is not None:
                with patch.object(day_summaries, "FEWEST_REPLACED", fewest_replaced):
                    move_steps(session, [self.product_id], raw_from)

    def _offers(self, offers: Sequence[OfferRow]):
        """The offers as they are now."""
        return [
            {
                "id": id_,
                "source_id": OFFERS_SOURCE,
                "price": price,
                "items_in_stock": items,
                "first_seen_at": min(row.at for row in offers if row.id == id_),
                "changed_at": at,
                "closed_at": at if items == 0 else None,
                "currency": "EUR",
                "condition": "unknown",
                "availability": "out_of_stock" if items == 0 else "in_stock",
            }
            for id_, at, price, items in {row.id: row for row in offers}.values()
        ]


def _columns(row):
    """A row's values by the names of the tables."""
    return {{"at": "observed_at"}.get(name, name): value for name, value in row._asdict().items() if name != "id"}
