"""Making the stored offers equal to the observed ones, and reading them."""

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from productagg.catalog import products as catalog
from productagg.catalog.product_offers import offers_page
from productagg.db.models import Offer, OfferPrice, ProductPrice
from productagg.offers.reconcile import Observation
from tests.factories import make_product, make_products, offer_state, rows, states
from tests.integration.conftest import on_statement
from tests.integration.offer_history import write_down

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
LATER_STILL = NOON + timedelta(minutes=2)
LARGEST = 2**63 - 1


def observe(database, product_id, offers, now, *, first=False):
    observed = Observation(product_id, {id_: offer_state(*state) for id_, state in offers.items()}, now, first)
    with database.sessions.begin() as session:
        updates = write_down(session, observed)
    return {product_id: update.difference for product_id, update in updates.items() if update.difference}


@pytest.fixture
def product_id(database):
    return make_product(database)


def test_a_first_list_is_stored_whole_with_both_histories(database, product_id):
    offers = states((100, 5), (200, 3))

    observe(database, product_id, offers, NOON, first=True)

    stored = rows(database, Offer)
    assert {row.id: (row.price, row.items_in_stock) for row in stored} == offers
    assert {(row.first_seen_at, row.changed_at, row.closed_at) for row in stored} == {(NOON, NOON, None)}
    history = rows(database, OfferPrice)
    assert {row.offer_id: (row.price, row.items_in_stock) for row in history} == offers
    assert rows(database, ProductPrice) == [(product_id, NOON, 100, 150, 2, 8, True)]


def test_a_changed_offer_is_overwritten_and_only_it_gets_a_line_of_history(database, product_id):
    changing, constant = states((100, 5), (200, 3))
    observe(database, product_id, {changing: (100, 5), constant: (200, 3)}, NOON)

    observe(database, product_id, {changing: (90, 4), constant: (200, 3)}, LATER)

    (changed,) = rows(database, Offer, id=changing)
    assert (changed.price, changed.items_in_stock, changed.first_seen_at, changed.changed_at) == (90, 4, NOON, LATER)
    (unchanged,) = rows(database, Offer, id=constant)
    assert unchanged.changed_at == NOON
    assert [row.price for row in rows(database, OfferPrice, offer_id=changing)] == [100, 90]
    assert len(rows(database, OfferPrice, offer_id=constant)) == 1


def test_an_offer_that_vanished_is_closed_with_stock_0_and_keeps_its_last_price(database, product_id):
    (vanishing,) = offers = states((100, 5))
    observe(database, product_id, offers, NOON)

    differences = observe(database, product_id, {}, LATER)

    assert set(differences[product_id].closed) == {vanishing}
    (closed,) = rows(database, Offer)
    assert (closed.price, closed.items_in_stock, closed.first_seen_at, closed.closed_at) == (100, 0, NOON, LATER)
    assert [(row.observed_at, row.price, row.items_in_stock) for row in rows(database, OfferPrice)] == [
        (NOON, 100, 5),
        (LATER, 100, 0),
    ]
    assert rows(database, ProductPrice)[-1] == (product_id, LATER, None, None, 0, 0, True)


def test_an_offer_that_comes_back_is_the_same_offer(database, product_id):
    (returning,) = offers = states((100, 5))
    observe(database, product_id, offers, NOON)
    observe(database, product_id, {}, LATER)

    observe(database, product_id, {returning: (120, 7)}, LATER_STILL)

    (reopened,) = rows(database, Offer)
    assert (reopened.price, reopened.items_in_stock) == (120, 7)
    assert (reopened.first_seen_at, reopened.changed_at, reopened.closed_at) == (NOON, LATER_STILL, None)
    assert [row.items_in_stock for row in rows(database, OfferPrice)] == [5, 0, 7]


def test_what_was_closed_before_is_not_closed_again(database, product_id):
    observe(database, product_id, states((100, 5)), NOON)
    observe(database, product_id, {}, LATER)
    before = rows(database, Offer), rows(database, OfferPrice), rows(database, ProductPrice)

    assert observe(database, product_id, {}, LATER_STILL) == {}

    assert (rows(database, Offer), rows(database, OfferPrice), rows(database, ProductPrice)) == before


def test_the_same_list_again_writes_nothing(database, product_id):
    offers = states((100, 5), (200, 0))
    observe(database, product_id, offers, NOON, first=True)
    before = rows(database, Offer), rows(database, OfferPrice), rows(database, ProductPrice)

    assert observe(database, product_id, offers, LATER) == {}

    assert (rows(database, Offer), rows(database, OfferPrice), rows(database, ProductPrice)) == before


def test_a_change_that_leaves_the_summary_as_it_was_is_no_line_of_the_products_history(database, product_id):
    out_of_stock, in_stock = states((500, 0), (100, 5))
    observe(database, product_id, {out_of_stock: (500, 0), in_stock: (100, 5)}, NOON)

    observe(database, product_id, {out_of_stock: (400, 0), in_stock: (100, 5)}, LATER)

    assert len(rows(database, OfferPrice, offer_id=out_of_stock)) == 2
    assert len(rows(database, ProductPrice)) == 1


@pytest.mark.parametrize(("first", "lines"), [(True, [(None, None, 0, 0)]), (False, [])])
def test_only_a_first_empty_list_is_news(database, product_id, first, lines):
    assert observe(database, product_id, {}, NOON, first=first) == {}

    assert [tuple(row)[2:-1] for row in rows(database, ProductPrice)] == lines


@pytest.mark.parametrize("state", [(LARGEST, LARGEST), (0, 0), (0, 1)])
def test_the_extremes_of_64_bits_are_stored_exactly(database, product_id, state):
    observe(database, product_id, states(state), NOON, first=True)

    (offer,) = rows(database, Offer)
    assert (offer.price, offer.items_in_stock) == state
    (line,) = rows(database, ProductPrice)
    expected = (None, None, 0, 0) if state[1] == 0 else (state[0], state[0], 1, state[1])
    assert tuple(line)[2:] == (*expected, True)


def test_the_same_offer_id_at_two_products_is_two_offers(database):
    one, other = make_products(database, 2)
    (shared,) = states((0, 0))
    observe(database, one, {shared: (100, 1)}, NOON)

    observe(database, other, {shared: (200, 2)}, NOON)

    assert [(row.product_id, row.price) for row in rows(database, Offer)] == [(one, 100), (other, 200)]


def test_a_hundred_products_take_as_many_statements_as_one(database):
    product_ids = make_products(database, 101)
    for product_id in product_ids:
        observe(database, product_id, states((100, 1), (200, 2)), NOON)
    # Everything that there is to write: after a gap of days both offers vanish, two others come
    end = NOON + timedelta(days=2)
    observations = [
        Observation(product_id, {id_: offer_state(1, 1) for id_ in states((0, 0), (0, 0))}, end, False, LATER)
        for product_id in product_ids
    ]

    counts = []
    for chosen in (observations[:1], observations[1:]):
        statements: list[str] = []
        with on_statement(database.writer, statements.append), database.sessions.begin() as session:
            assert len(write_down(session, *chosen)) == len(chosen)
        counts.append(len(statements))

    assert counts[0] == counts[1]


def test_a_product_that_does_not_exist_cannot_have_offers(database):
    with pytest.raises(IntegrityError):
        observe(database, next(iter(states((0, 0)))), states((100, 1)), NOON)


def read(database, product_id, limit=10, place=None):
    """A page of closed offers: the ids on it, and the place of the next one."""
    with database.reader.connect() as connection:
        page = offers_page(connection, product_id, limit, place)
    return [UUID(offer["id"]) for offer in json.loads(page.offers)], page.following


def read_all(database, product_id, limit, after_page=lambda: None):
    ids, place = read(database, product_id, limit)
    while place is not None:
        after_page()
        more, place = read(database, product_id, limit, place)
        ids += more
    return ids


def test_offers_are_listed_cheapest_first(database, product_id):
    tied, tied_too, cheap, dear, gone = sorted(states(*[(0, 0)] * 5))
    observe(database, product_id, {gone: (1, 1)}, NOON)
    observe(database, product_id, {dear: (300, 1), tied_too: (200, 1), tied: (200, 0), cheap: (100, 1)}, LATER)

    with database.reader.connect() as connection:
        current = [UUID(offer["id"]) for offer in json.loads(catalog.get(connection, product_id).offers)]

    assert current == [cheap, tied, tied_too, dear]
    assert read(database, product_id) == ([*current, gone], None)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
def test_pages_of_closed_offers_begin_with_the_current_ones_and_go_back_in_time(database, product_id, limit):
    oldest, first, second, newest, open_ = sorted(states(*[(0, 0)] * 5))
    everything = dict.fromkeys((newest, first, second, oldest, open_), (100, 1))
    for minute, gone in enumerate(((), (oldest,), (first, second), (newest,))):  # two at the same moment
        for id_ in gone:
            del everything[id_]
        observe(database, product_id, everything, NOON + timedelta(minutes=minute))

    assert read_all(database, product_id, limit) == [open_, newest, second, first, oldest]


def test_offers_that_close_or_open_between_two_pages_move_none_that_stays_closed(database, product_id):
    ids = sorted(states(*[(0, 0)] * 12))
    remaining, minutes = dict.fromkeys(ids, (100, 1)), count()

    def happen(*closing, opening=()):
        for id_ in closing:
            del remaining[id_]
        remaining.update(dict.fromkeys(opening, (50, 1)))
        observe(database, product_id, remaining, NOON + timedelta(minutes=next(minutes)))

    happen()
    for id_ in ids[:10]:
        happen(id_)
    turns = iter([lambda: happen(ids[10], opening=[ids[9]]), lambda: happen(ids[9], opening=[ids[0]])])

    found = read_all(database, product_id, 3, lambda: next(turns, lambda: None)())

    # Open at first: 10 and 11. Then 9 was seen before it opened, and 0 opened before it was seen.
    assert found == [ids[10], ids[11], *(ids[number] for number in range(9, 0, -1))]


def test_where_all_that_is_left_was_removed_the_last_page_is_empty(database, product_id):
    gone = states((100, 1), (100, 1))
    observe(database, product_id, gone, NOON)
    observe(database, product_id, {}, LATER)
    _, place = read(database, product_id, 1)
    with database.writer.begin() as connection:
        connection.execute(delete(Offer))

    assert read(database, product_id, 1, place) == ([], None)


def test_only_the_products_own_offers_are_listed(database):
    one, other = make_products(database, 2)
    observe(database, one, states((100, 1)), NOON)
    observe(database, one, {}, LATER)

    assert read(database, other) == ([], None)
    with pytest.raises(catalog.NotFound):
        read(database, uuid4())
