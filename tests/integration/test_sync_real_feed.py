"""A sync run that fetches a real feed over HTTP, through the adapter that is installed."""

import pytest

from productagg.db.models import Offer, Source
from tests.factories import LONG_AGO, link, make_products, make_source, rows
from tests.integration.web_feed import served_feed


@pytest.fixture
def address():
    """Where the feed is."""
    with served_feed() as address:
        yield address


def test_a_feed_is_fetched_and_its_items_are_matched(database, make_synchronizer, address):
    product_ids = make_products(database, 2)
    source_id = make_source(
        database,
        "feed",
        kind="feed",
        configuration={"url": address},
        next_sync_at=LONG_AGO,
        interval_seconds=1,
    )
    for product_id, item in zip(product_ids, ("sku-1", "sku-2"), strict=True):
        link(database, product_id, source_id, locator=item, next_sync_at=None)
    synchronizer = make_synchronizer(**{"sources.allow_private_networks": "true"})

    first = synchronizer.run()

    (source,) = rows(database, Source, id=source_id)
    assert (first.ended_by, source.last_error) == ("done", None)
    assert {row.product_id: row.price for row in rows(database, Offer)} == dict(
        zip(product_ids, (150, 250), strict=True)
    )
    assert (source.item_count, source.unmatched_count, source.validators[0]) == (3, 1, '"one"')
