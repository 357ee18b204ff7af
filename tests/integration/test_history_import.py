"""Imported histories are as if they had been observed, before the own history; and all or nothing is imported."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import text, update

from productagg.catalog import products as catalog
from productagg.db.models import (
    OFFERS_SOURCE,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    ProductPrice,
    ProductPriceDay,
    ProductSummary,
)
from productagg.history import importing, movers
from productagg.history.importing import ImportRefused, import_
from productagg.history.lines import LARGEST
from productagg.history.offers_at import offers_at
from productagg.history.series import offer_series, product_series
from productagg.history.staging import Staged, stage
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, make_product, make_products, rows
from tests.integration.conftest import before_statement
from tests.integration.import_export import (
    HISTORY,
    LAST,
    START,
    TABLES,
    A,
    B,
    C,
    after,
    bring,
    collected,
    compact_to,
    everything,
    line,
    observe,
    of_offer,
    of_product,
)

NOW = LONG_AGO + timedelta(days=1)
# An observation counts for longer than any history.
ALWAYS = timedelta(days=9999)


@pytest.fixture
def product(database):
    return make_product(database)


def test_lines_become_the_steps_that_observing_them_would_have_left(database, product):
    bring(
        database,
        [
            line(product, A, after(), 100, 2),
            line(product, B, after(), 201, 3),
            line(product, A, after(hours=1), 100, 0),
            line(product, B, after(hours=2), 201, 0),
            line(product, A, after(hours=3), 90, 1),
        ],
    )

    assert of_offer(database, product, A) == [
        (after(), 100, 2),
        (after(hours=1), 100, 0),
        (after(hours=3), 90, 1),
        (LAST, 90, 0),
    ]
    assert of_offer(database, product, B) == [(after(), 201, 3), (after(hours=2), 201, 0)]
    assert of_product(database, product) == [
        (after(), 100, 151, 2, 5, True),
        (after(hours=1), 201, 201, 1, 3, True),
        (after(hours=2), None, None, 0, 0, True),
        (after(hours=3), 90, 90, 1, 1, True),
        (LAST, None, None, 0, 0, False),
    ]


def test_the_order_of_the_lines_does_not_matter(database):
    one, other = make_products(database, 2)
    lines = [(A, after(minutes=number % 50), number, number % 3) for number in range(0, 150, 7)]
    shuffled = Random(1).sample(
        [line(one, *each) for each in lines] + [line(other, *each) for each in lines], len(lines) * 2
    )

    bring(database, shuffled)

    assert of_product(database, one) == of_product(database, other)
    assert of_offer(database, one, A) == of_offer(database, other, A)
    assert len(of_offer(database, one, A)) > 10


def test_what_a_line_says_again_is_no_step(database, product):
    bring(database, [line(product, A, after(hours=number), 100, 2) for number in range(10)])

    assert of_offer(database, product, A) == [(after(), 100, 2), (LAST, 100, 0)]
    assert len(of_product(database, product)) == 2


def test_a_change_that_the_product_does_not_show_is_a_step_of_its_offer_only(database, product):
    bring(database, [line(product, A, after(), 100, 0), line(product, A, after(hours=1), 90, 0)])

    assert of_offer(database, product, A) == [(after(), 100, 0), (after(hours=1), 90, 0)]
    assert [step[0] for step in of_product(database, product)] == [after(), LAST]


def test_after_a_gap_all_offers_are_as_they_were_but_for_what_the_lines_say(database, product):
    bring(
        database,
        [
            line(product, A, after(), 100, 2),
            line(product, B, after(), 200, 2),
            line(product, None, after(hours=1)),
            line(product, None, after(hours=2)),
            line(product, A, after(hours=3), 150, 2),
        ],
    )

    assert of_product(database, product) == [
        (after(), 100, 150, 2, 4, True),
        (after(hours=1), None, None, 0, 0, False),
        (after(hours=3), 150, 175, 2, 4, True),
        (LAST, None, None, 0, 0, False),
    ]


def test_a_gap_may_end_without_a_change(database, product):
    bring(
        database,
        [
            line(product, A, after(), 100, 2),
            line(product, None, after(hours=1)),
            line(product, None, after(hours=2), None, 0),
        ],
    )

    assert [step[::5] for step in of_product(database, product)] == [
        (after(), True),
        (after(hours=1), False),
        (after(hours=2), True),
        (LAST, False),
    ]
    assert of_offer(database, product, A) == [(after(), 100, 2), (LAST, 100, 0)]


def test_at_the_time_of_a_gap_lines_say_how_offers_were_last_known(database, product):
    bring(
        database,
        [
            line(product, A, after(), 100, 2),
            line(product, None, after()),
            line(product, B, after(hours=1), 50, 1),
        ],
    )

    assert of_product(database, product)[:2] == [
        (after(), None, None, 0, 0, False),
        (after(hours=1), 50, 75, 2, 3, True),
    ]


def test_the_last_instant_is_never_observed(database, product):
    bring(database, [line(product, A, after(), 100, 2), line(product, B, LAST, 90, 1)])

    assert of_product(database, product)[-1] == (LAST, None, None, 0, 0, False)
    assert of_offer(database, product, B) == [(LAST, 90, 0)]


def test_nothing_is_carried_into_the_own_history(database, product):
    observe(database, product, LONG_AGO + timedelta(hours=1), {B: (70, 1)})

    bring(database, [line(product, A, after(), 100, 2), line(product, B, after(), 90, 3)])

    with database.reader.connect() as connection:
        before, later = (
            offers_at(connection, product, LONG_AGO + timedelta(hours=hours), now=NOW, observed_for=ALWAYS)
            for hours in (0, 1)
        )
    assert (before.state, before.offers) == ("not_observed", [])
    assert (later.state, [each.id for each in later.offers]) == ("observed", [B])


def test_an_imported_offer_is_one_that_is_closed_and_an_observed_one_stays_as_it_is(database, product):
    observe(database, product, LONG_AGO + timedelta(hours=1), {B: (70, 1)})
    [observed] = rows(database, Offer)

    bring(database, [line(product, A, after(), 100, 2), line(product, B, after(), 90, 3)])

    facts = ("EUR", "unknown", "out_of_stock", None, None, None, None, None)
    assert rows(database, Offer) == [(product, A, OFFERS_SOURCE, 100, 0, after(), LAST, LAST, *facts), observed]


def test_the_newest_price_is_still_that_of_the_own_history(database, product):
    observe(database, product, LONG_AGO + timedelta(hours=1), {B: (70, 1)})
    (before,) = rows(database, ProductSummary)

    bring(database, [line(product, A, after(), 100, 2)])

    (summary,) = rows(database, ProductSummary)
    assert {**summary._mapping, "compare_at": None} == {**before._mapping, "compare_at": None}


def test_the_prices_of_a_day_a_week_and_a_month_ago_are_looked_up_in_what_was_imported(database, product, clock):
    clock.move_to(LONG_AGO + timedelta(hours=12))
    bring(database, [line(product, A, after(), 100, 2), line(product, A, LAST - timedelta(days=3), 90, 2)])

    with database.sessions.begin() as session:
        movers.refresh(session, LONG_AGO + timedelta(hours=13), 10)

    (summary,) = rows(database, ProductSummary)
    assert (summary.lowest_24h, summary.lowest_7d, summary.lowest_30d) == (90, 100, 100)


def test_the_largest_numbers_stay_exact(database, product):
    bring(database, [line(product, A, after(), LARGEST, 1), line(product, B, after(), LARGEST - 1, LARGEST - 1)])

    assert of_product(database, product)[0] == (after(), LARGEST - 1, LARGEST, 2, LARGEST, True)
    assert of_offer(database, product, A)[0] == (after(), LARGEST, 1)


def test_more_items_than_can_be_counted_are_refused(database, product):
    with pytest.raises(ImportRefused, match=r"more items in stock at .* than 64 bits hold"):
        bring(database, [line(product, A, after(), 1, LARGEST), line(product, B, after(), 1, 1)])

    assert not any(everything(database).values())


@pytest.mark.parametrize("raw_from", [datetime(2019, 10, 20, tzinfo=UTC), LONG_AGO])
def test_an_import_is_compacted_like_what_was_observed(database, product, raw_from):
    own = LONG_AGO + timedelta(hours=1)
    observe(database, product, own, {B: (70, 1)})
    bring(database, collected(product))
    before = days_of(database, product)

    compact_to(database, raw_from)

    assert days_of(database, product) == before
    assert min(row.observed_at for row in rows(database, ProductPrice)) >= raw_from
    assert rows(database, ProductPriceDay)


def test_an_import_of_days_that_were_compacted_is_read_at_once_and_compacted_next(database, product):
    bring(database, collected(product))
    compact_to(database, LONG_AGO)
    expected = days_of(database, product), everything(database)
    with database.writer.begin() as connection:
        for table in TABLES:
            connection.execute(table.delete())

    bring(database, collected(product))

    assert days_of(database, product) == expected[0]
    compact_to(database, LONG_AGO)
    assert (days_of(database, product), everything(database)) == expected


def days_of(database, product):
    """What the product cost on each day, and its offers."""
    window = (START - timedelta(days=1), NOW, "day")
    with database.reader.connect() as connection:
        return [
            product_series(connection, product, *window, now=NOW, observed_for=ALWAYS),
            *(offer_series(connection, product, id_, *window, now=NOW, observed_for=ALWAYS) for id_ in (A, B, C)),
        ]


def test_imported_history_is_not_touched_unless_it_is_to_be_replaced(database, product):
    bring(database, [line(product, A, after(), 1, 1)])
    before = everything(database)

    with pytest.raises(ImportRefused, match=f"product {product} already has imported history; --replace"):
        bring(database, [line(product, A, after(hours=1), 2, 2)])

    assert everything(database) == before


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_imported_is_replaced_and_nothing_else(database, compacted):
    replaced, other = make_products(database, 2)
    own = LONG_AGO + timedelta(hours=1)
    for product_id in (replaced, other):
        observe(database, product_id, own, {B: (70, 1)})
        bring(database, [line(product_id, A, after(), 1, 1), line(product_id, B, after(days=1), 1, 1)])
    if compacted:
        compact_to(database, LONG_AGO + timedelta(days=1))
    of_other = everything(database, [*HISTORY, Offer], product_id=other)

    bring(database, [line(replaced, C, after(hours=2), 3, 3)], replace=True)

    steps = rows(database, OfferPrice, product_id=replaced) + rows(database, OfferPriceDay, product_id=replaced)
    imported = [(C, after(hours=2), 3, 3), (C, LAST, 3, 0)]
    assert sorted(row[1:5] for row in steps) == sorted([(B, own, 70, 1), *imported])
    assert {row.id for row in rows(database, Offer, product_id=replaced)} == {B, C}
    assert everything(database, [*HISTORY, Offer], product_id=other) == of_other


def test_to_replace_what_is_not_there_is_to_import(database, product):
    bring(database, [line(product, A, after(), 1, 1)], replace=True)

    assert len(of_offer(database, product, A)) == 2


def test_an_import_that_breaks_off_anywhere_leaves_nothing(database, monkeypatch):
    monkeypatch.setattr(importing, "ROWS_PER_INSERT", 1)
    product_ids = make_products(database, 3)
    bring(database, [line(product_ids[0], A, after(), 1, 1)])
    compact_to(database, datetime(2019, 12, 1, tzinfo=UTC))
    before = everything(database, [*HISTORY, Offer, HistoryProgress])
    lines = [line(product_id, A, after(), 5, 5) for product_id in product_ids]
    broken = 0

    while broken < 100:
        with suppress(ZeroDivisionError), before_statement(database.writer, "", crash_at(broken)):
            bring(database, lines, replace=True)
            break
        assert everything(database, [*HISTORY, Offer, HistoryProgress]) == before
        broken += 1

    assert broken > 20


def crash_at(number):
    """Crash before the so-many-th statement."""
    left = [number]

    def count(_statement):
        left[0] -= 1
        if left[0] < 0:
            raise ZeroDivisionError

    return count


def test_a_product_that_is_deleted_after_the_check_is_refused(database):
    kept, deleted = make_products(database, 2)

    with Staged() as staged:
        numbered = [(1, line(kept, A, after(), 1, 1)), (2, line(deleted, A, after(), 1, 1))]
        stage(staged, numbered, database.sessions, datetime.now(UTC))
        with database.sessions.begin() as session:
            catalog.remove(session, deleted, datetime.now(UTC))
        with (
            pytest.raises(ImportRefused, match=f"product {deleted} was deleted after the file was read"),
            database.sessions.begin() as session,
        ):
            import_(session, staged)

    assert not any(everything(database).values())


def test_the_progress_counts_lines(database, monkeypatch):
    monkeypatch.setattr(importing, "ROWS_PER_INSERT", 3)
    told = []

    bring(
        database,
        [line(product_id, id_, after(), 1, 1) for product_id in make_products(database, 3) for id_ in (A, B)],
        progress=lambda done, total: told.append((done, total)),
    )

    assert told == [(3, 6), (6, 6)]


@only_postgresql
def test_months_without_a_partition_are_taken_all_the_same(database, product):
    bring(database, [line(product, A, datetime(1999, 5, 5, tzinfo=UTC), 1, 1)])

    with database.reader.connect() as connection:
        found = connection.scalars(text("SELECT DISTINCT tableoid::regclass::text FROM offer_prices")).all()
    assert "offer_prices_default" in found


def test_an_offer_in_stock_whose_number_is_not_known_has_a_price(database, product):
    bring(
        database,
        [line(product, A, after(), 100), line(product, B, after(), 200, 3), line(product, A, after(days=1), 90)],
    )

    assert of_product(database, product)[:2] == [
        (after(), 100, 150, 2, 3, True),
        (after(days=1), 90, 145, 2, 3, True),
    ]
    assert of_offer(database, product, A) == [(after(), 100, None), (after(days=1), 90, None), (LAST, 90, 0)]


def test_prices_in_another_currency_are_kept_and_are_not_the_products(database, product):
    bring(database, [line(product, A, after(), 100, 1), line(product, B, after(), 1, 5, "CZK")])

    assert of_product(database, product)[0] == (after(), 100, 100, 1, 1, True)
    assert of_offer(database, product, B)[0] == (after(), 1, 5)
    assert [(row.id, row.currency) for row in rows(database, Offer)] == [(A, "EUR"), (B, "CZK")]


def test_a_price_without_a_currency_is_in_the_catalogues(database, product):
    bring(database, [line(product, A, after(), 100, 1, None)])

    assert [row.currency for row in rows(database, Offer)] == ["EUR"]


def test_an_offer_has_one_currency(database, product):
    with pytest.raises(ImportRefused, match="has lines in EUR and CZK"):
        bring(database, [line(product, A, after(), 100, 1), line(product, A, after(days=1), 2500, 1, "CZK")])

    assert not any(everything(database).values())


@pytest.mark.parametrize("currency", ["CZK", None])
def test_lines_in_another_currency_than_an_offer_that_is_known_are_refused(database, product, currency):
    observe(database, product, NOW, {A: (2500, 1)})
    known = "EUR" if currency else "CZK"
    with database.sessions.begin() as session:
        session.execute(update(Offer).values(currency=known))
    before = everything(database)

    with pytest.raises(ImportRefused, match=f"has lines in {currency or 'EUR'}, but its prices are in {known}"):
        bring(database, [line(product, A, after(), 100, 1, currency)])

    assert everything(database) == before


def test_lines_in_the_currency_of_an_offer_that_is_known_are_imported(database, product):
    observe(database, product, NOW, {A: (2500, 1)})
    with database.sessions.begin() as session:
        session.execute(update(Offer).values(currency="CZK"))

    bring(database, [line(product, A, after(), 100, 1, "CZK")])

    assert of_offer(database, product, A)[0] == (after(), 100, 1)


def test_replacing_what_was_imported_may_change_its_currency(database, product):
    bring(database, [line(product, A, after(), 100, 1)])

    bring(database, [line(product, A, after(), 2500, 1, "CZK")], replace=True)

    assert [(row.price, row.currency) for row in rows(database, Offer)] == [(2500, "CZK")]
