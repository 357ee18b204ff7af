"""The migration of the quarantine keeps every offer, up and down."""

from uuid import UUID

from productagg.db.models import Offer
from tests.factories import LONG_AGO, OFFER_FACTS, make_product, rows
from tests.integration.migrated_tables import columns, contents


def test_offers_are_kept_and_hold_nothing_back(blank_database):
    blank_database.migrate()
    product_id = make_product(blank_database)
    with blank_database.sessions.begin() as session:
        times = dict.fromkeys(("first_seen_at", "changed_at"), LONG_AGO)
        source_id = UUID("00000000-0000-7000-8000-000000000001")
        offer = Offer(product_id=product_id, id=UUID(int=1), source_id=source_id, price=100, **OFFER_FACTS, **times)
        offer.quarantined = {
            "price": 0,
            "reason": "zero",
            "since": "2026-01-01T00:00:00Z",
            "seen": 1,
            "rejected": False,
        }
        session.add(offer)
    blank_database.migrate("0004", down=True)
    old_columns = columns(blank_database)
    before = contents(blank_database, old_columns)

    blank_database.migrate()

    assert contents(blank_database, old_columns) == before
    assert [(row.price, row.quarantined) for row in rows(blank_database, Offer)] == [(100, None)]
