"""Exported histories say all that is kept raw, so that they are the same wherever they are imported."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from productagg.db.models import HistoryProgress, Offer, OfferPrice, ProductPrice, ProductSource
from productagg.history.exporting import export, history_snapshot
from productagg.history.lines import LARGEST
from productagg.history.timeline import INSTANT, microseconds
from tests.factories import LONG_AGO, make_product, make_products
from tests.integration.import_export import (
    LAST,
    START,
    TABLES,
    A,
    B,
    C,
    after,
    bring,
    compact_to,
    create_on,
    everything,
    line,
    observe,
    take,
)


@pytest.fixture
def product(database):
    return make_product(database)


def make_past(database, product_id):
    """A past as the sync leaves it: with no offers at first, changes, a gap without a change and one with some."""
    offers = {A: (100, 2), B: (200, 1)}
    for at, now, gap_from in [
        (after(), {}, None),
        (after(hours=1), offers, None),
        (after(hours=2), offers | {A: (90, 2)}, None),
        (after(days=2), offers | {A: (90, 2)}, after(hours=3)),
        (after(days=3), {B: (200, 1), C: (2**62, LARGEST - 1)}, None),
        (after(days=40), {A: (80, 1)}, after(days=3, hours=1)),
        (after(days=41), {}, None),
        (after(days=42), {A: (80, 1)}, None),
    ]:
        observe(database, product_id, at, now, gap_from)


@pytest.fixture
def past(database, product):
    """A product created at START's day with such a past."""
    create_on(database, product, START)
    make_past(database, product)
    return product


def forget(database, product_id, created_at):
    """As if it were another database, with the same product, created later and not observed yet."""
    with database.writer.begin() as connection:
        for table in TABLES:
            connection.execute(table.delete())
        connection.execute(update(HistoryProgress).values(raw_from=None))
        connection.execute(update(ProductSource).values(last_synced_at=None))
    create_on(database, product_id, created_at)


def test_what_is_exported_is_the_same_history_where_it_is_imported(database, past):
    exported, before = take(database), everything(database)

    forget(database, past, LONG_AGO)
    bring(database, exported)

    imported = everything(database)
    end = after(days=42) + INSTANT  # nobody asked after that
    [closed] = [row for row in imported["offer_prices"] if row.observed_at == LAST]
    assert (closed.offer_id, closed.price, closed.items_in_stock) == (A, 80, 0)
    assert [row for row in imported["offer_prices"] if row != closed] == before["offer_prices"]
    assert imported["product_prices"] == [*before["product_prices"], (past, end, None, None, 0, 0, False)]


def test_an_import_can_be_exported_and_imported_again_and_again(database, past):
    exported = take(database)
    forget(database, past, LONG_AGO)
    bring(database, exported)
    imported, again = everything(database), take(database)

    forget(database, past, LONG_AGO)
    bring(database, again)
    assert everything(database) == imported
    assert take(database) == again

    forget(database, past, datetime(2022, 5, 5, 5, tzinfo=UTC))
    bring(database, again)
    assert everything(database, [OfferPrice, ProductPrice]) == {
        name: imported[name] for name in ("offer_prices", "product_prices")
    }


def test_lines_are_ordered_by_product_and_time(database):
    product_ids = make_products(database, 3)
    for product_id in reversed(product_ids):
        create_on(database, product_id, START)
        make_past(database, product_id)

    lines = take(database)

    assert [(each.product_id, each.at) for each in lines] == sorted((each.product_id, each.at) for each in lines)
    assert {each.product_id for each in lines} == set(product_ids)
    assert len(lines) == 3 * len(take(database, product_ids[0]))


def test_chosen_products_are_exported_and_no_others(database):
    product_ids = make_products(database, 3)
    bring(database, [line(product_id, A, after(), 1, 1) for product_id in product_ids])

    assert {each.product_id for each in take(database, *product_ids[1:])} == set(product_ids[1:])


@pytest.mark.parametrize(
    ("begin", "in_force"),
    [
        (after(minutes=30), [(None, None, 0)]),
        (after(hours=1), [(A, 100, 2), (B, 200, 1)]),
        (after(hours=1, minutes=30), [(A, 100, 2), (B, 200, 1)]),
        (after(days=1), [(A, 90, 2), (B, 200, 1), (None, None, None)]),
        (after(days=3), [(B, 200, 1), (C, 2**62, LARGEST - 1)]),
    ],
)
def test_an_export_from_a_time_begins_with_what_was_in_force_then(database, past, begin, in_force):
    lines = take(database, begin=begin)

    first = [each for each in lines if each.at == microseconds(begin)]
    assert lines[: len(first)] == first
    assert [(each.offer_id, each.price, each.items_in_stock) for each in first] == in_force
    assert lines[len(first) :] == [each for each in take(database) if each.at > microseconds(begin)]


def test_an_export_to_a_time_ends_with_knowing_no_more(database, past):
    lines = take(database, end=after(days=3))

    assert lines[:-1] == [each for each in take(database) if each.at < microseconds(after(days=3))]
    assert lines[-1] == line(past, None, after(days=3))


def test_an_export_from_a_time_after_the_last_observation_is_empty(database, past):
    assert take(database, begin=after(days=43)) == []


def test_where_steps_are_compacted_an_export_begins_with_what_was_in_force_after_them(database, past):
    whole = take(database)
    raw_from = datetime(2019, 10, 10, tzinfo=UTC)
    compact_to(database, raw_from)

    lines = take(database)

    assert lines[:3] == [
        line(past, B, raw_from, 200, 1),
        line(past, C, raw_from, 2**62, LARGEST - 1),
        line(past, None, raw_from),
    ]
    assert lines[3:] == [each for each in whole if each.at > microseconds(raw_from)]
    assert take(database, begin=START) == lines


def test_an_export_is_of_one_moment(database):
    first, second = make_products(database, 2)
    bring(database, [line(first, A, after(), 1, 1), line(second, A, after(), 1, 1)])

    with database.reader.connect() as connection, history_snapshot(connection):
        lines = export(connection)
        found = [next(lines)]
        observe(database, second, LONG_AGO + timedelta(hours=1), {A: (5, 5)})
        found += lines

    assert max(each.at for each in found) == microseconds(LAST)
    assert max(each.at for each in take(database)) > microseconds(LAST)


def test_an_export_says_each_offers_currency_and_where_no_number_is_known(database):
    (product,) = make_products(database, 1)
    observe(database, product, LONG_AGO + timedelta(hours=1), {A: (100, None), B: (200, 2)})
    with database.writer.begin() as connection:
        connection.execute(update(Offer).where(Offer.id == B).values(currency="CZK"))

    exported = [(each.offer_id, each.price, each.items_in_stock, each.currency) for each in take(database)]

    assert exported[:2] == [(A, 100, None, "EUR"), (B, 200, 2, "CZK")]
    from_then = take(database, begin=LONG_AGO + timedelta(hours=1))
    assert [each[3:] for each in from_then[:2]] == [(100, None, "EUR"), (200, 2, "CZK")]
