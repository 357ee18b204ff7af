"""Offers that have been closed for long are removed; what products cost stays exact, and no answer is by halves."""

import threading
from contextlib import suppress
from datetime import timedelta
from itertools import count, pairwise
from uuid import UUID

import pytest
from sqlalchemy import select, update

from productagg.db.models import Offer, OfferPrice, OfferPriceDay, Product, ProductPriceDay, ProductSource
from productagg.history import closed_offers
from productagg.history.closed_offers import remove_closed
from productagg.history.offers_at import OffersNotKept, offers_at
from productagg.history.series import offer_series, product_series
from productagg.history.trends import trend
from productagg.history.verdicts import verdict
from tests.databases import only_postgresql
from tests.factories import rows
from tests.integration.conftest import before_commit, before_statement, crash, wait_until
from tests.integration.observed_products import OBSERVED_FOR, CopiedShop, Shop, compact, day, progress, somebody_waits

OPEN, OLD, OLD_TOO, RECENT = (UUID(int=number) for number in range(1, 5))
FEBRUARY = day(31)
# 90 days before is in February: the raw rows begin there. 100 days before is day 40.
NOW = day(140, 12)


@CopiedShop
def kettle(database):
    """Two offers were closed in January, one in May."""
    shop = Shop(database)
    shop.observe(day(0, 12), {OPEN: (300, 5), OLD: (100, 1), OLD_TOO: (200, 1), RECENT: (400, 1)})
    shop.observe(day(0, 16), {OPEN: (300, 5), OLD_TOO: (150, 1), RECENT: (400, 1)})
    shop.keep(day(5))
    shop.observe(day(5), {OPEN: (290, 5), RECENT: (400, 1)})
    shop.keep(day(130))
    shop.observe(day(130), {OPEN: (280, 5)})
    shop.keep(NOW)
    return shop


@pytest.fixture
def shop(database):
    return kettle.put(database)


def offers(database, model=Offer, name="id"):
    return {getattr(row, name) for row in rows(database, model)}


def of_offers(database):
    """The offers that have compacted steps."""
    return offers(database, OfferPriceDay, "offer_id")


def ask(database, shop, question, *arguments):
    with database.reader.connect() as connection:
        return question(connection, shop.product_id, *arguments, now=NOW, observed_for=OBSERVED_FOR)


def remove_closed_now(database, before):
    with database.reader.connect() as reader:
        return remove_closed(reader, database.sessions, before)


def from_the_second(act):
    """Call it every time but the first."""
    times = count()
    return lambda *arguments: act(*arguments) if next(times) else None


def once(act):
    """Call it the first time only."""
    left = [act]
    return lambda *arguments: left.pop()(*arguments) if left else None


def test_offers_that_were_closed_for_longer_than_is_wished_go_with_their_steps(database, shop):
    report = compact(database, NOW, closed_days=100)

    assert report.offers == 2
    assert "2 closed offers removed" in str(report)
    assert offers(database) == of_offers(database) == {OPEN, RECENT}
    assert offers(database, OfferPrice, "offer_id") <= {OPEN, RECENT}
    assert compact(database, NOW, closed_days=100).offers == 0


@pytest.mark.parametrize(("closed_days", "left"), [(134, {OPEN, RECENT, OLD_TOO}), (139, {OPEN, RECENT, OLD_TOO, OLD})])
def test_the_days_are_whole_and_those_at_the_edge_stay(database, shop, closed_days, left):
    compact(database, NOW, closed_days=closed_days + 1)

    assert offers(database) == left


def test_no_offer_goes_before_its_raw_rows(database, shop):
    compact(database, day(100), closed_days=31)  # the raw rows begin with January

    assert progress(database).raw_from is None
    assert offers(database) == {OPEN, OLD, OLD_TOO, RECENT}

    compact(database, NOW, closed_days=31)

    assert progress(database).raw_from == progress(database).offers_from == FEBRUARY
    assert offers(database) == {OPEN, RECENT}


def test_what_the_product_cost_does_not_change_in_the_least(database, shop):
    def everything():
        return [
            rows(database, ProductPriceDay),
            *(
                ask(database, shop, trend, day(0), day(number), metric)
                for number in (1, 140)
                for metric in ("lowest", "average")
            ),
            *(ask(database, shop, product_series, day(0), day(140), each) for each in ("day", "week", "auto")),
            ask(database, shop, verdict),
        ]

    compact(database, NOW)
    before = everything()

    assert compact(database, NOW, closed_days=100).offers == 2

    assert everything() == before


def test_of_a_removed_offer_nothing_is_known_any_more(database, shop):
    compact(database, NOW, closed_days=100)

    assert ask(database, shop, offer_series, OLD, day(0), day(140), "day") is None
    assert ask(database, shop, offer_series, RECENT, day(0), day(140), "day") is not None


def test_the_offers_at_a_time_are_all_of_them_or_refused(database, shop):
    compact(database, NOW)
    times = [day(0, 13), day(4), day(39, 23), day(40), day(41), FEBRUARY, day(129), day(130), NOW]
    before = {at: ask(database, shop, offers_at, at) for at in times}

    compact(database, NOW, closed_days=100)

    for at in times:
        if at < FEBRUARY:
            with pytest.raises(OffersNotKept) as refused:
                ask(database, shop, offers_at, at)
            assert refused.value.offers_from == FEBRUARY
        else:
            assert ask(database, shop, offers_at, at) == before[at]


def test_where_nothing_was_removed_every_time_is_answered(database, shop):
    compact(database, NOW)

    assert progress(database).offers_from is None
    assert [each.id for each in ask(database, shop, offers_at, day(0, 13)).offers] == [OLD, OLD_TOO, OPEN, RECENT]


def test_who_reads_while_offers_are_removed_does_not_take_what_is_left_for_all(database, shop):
    compact(database, NOW)

    def remove(_statement):
        remove_closed_now(database, FEBRUARY)

    with pytest.raises(OffersNotKept), before_statement(database.reader, "", once(remove)):
        ask(database, shop, offers_at, day(0, 13))


def test_a_few_offers_of_a_few_products_go_at_once(database, monkeypatch):
    monkeypatch.setattr(closed_offers, "OFFERS_AT_ONCE", 3)
    monkeypatch.setattr(closed_offers, "PRODUCTS_AT_ONCE", 2)
    shops = [Shop(database, f"Kettle {number}") for number in range(5)]
    ids = count(1)
    for shop in shops[:4]:
        shop.observe(day(0), {UUID(int=next(ids)): (100, 1) for _ in range(4)})
        shop.observe(day(1), {})
    left = []

    with before_commit(database, lambda _session: left.append(len(rows(database, Offer)))):
        assert remove_closed_now(database, day(2)) == 16

    assert left[0] == 16
    assert all(0 <= before - after <= 3 for before, after in pairwise(left))
    assert rows(database, Offer) == []


def test_a_killed_removal_is_gone_on_with(database, shop):
    compact(database, NOW)
    before = offers(database), of_offers(database)

    # The first transaction says that some may be gone.
    with suppress(ZeroDivisionError), before_commit(database, from_the_second(crash)):
        remove_closed_now(database, FEBRUARY)

    assert (offers(database), of_offers(database)) == before
    with pytest.raises(OffersNotKept):  # that some may be gone is known before any is
        ask(database, shop, offers_at, day(0, 13))
    assert remove_closed_now(database, FEBRUARY) == 2


def test_an_offer_that_was_opened_again_stays_with_its_past(database, shop):
    compact(database, NOW)
    shop.observe(NOW + timedelta(hours=1), {OPEN: (280, 5), OLD: (90, 1)})

    assert remove_closed_now(database, FEBRUARY) == 1

    assert offers(database) == of_offers(database) == {OPEN, RECENT, OLD}


def test_an_offer_that_comes_back_after_it_was_removed_begins_anew(database, shop):
    compact(database, NOW, closed_days=100)
    later = NOW + timedelta(hours=1)

    shop.observe(later, {OPEN: (280, 5), OLD: (90, 1)})

    (offer,) = rows(database, Offer, id=OLD)
    assert (offer.first_seen_at, offer.closed_at) == (later, None)


@only_postgresql
def test_an_offer_that_opens_at_that_very_moment_is_not_lost(database, shop):
    compact(database, NOW)
    removing = threading.Thread(target=remove_closed_now, args=(database, FEBRUARY))
    with database.sessions.begin() as applying:
        # As a sync run applies a list: the lock, and then the offers
        mine = select(ProductSource.product_id).where(ProductSource.product_id == shop.product_id)
        applying.execute(mine.with_for_update())
        removing.start()
        wait_until(lambda: somebody_waits(database))
        applying.execute(update(Offer).where(Offer.id == OLD).values(closed_at=None, items_in_stock=1))
    removing.join()

    assert offers(database) == of_offers(database) == {OPEN, RECENT, OLD}


@only_postgresql
def test_a_product_of_which_something_is_imported_is_left_to_the_next_run(database, shop):
    compact(database, NOW)
    with database.sessions.begin() as importing:
        importing.execute(select(Product.id).with_for_update(key_share=True))
        assert remove_closed_now(database, FEBRUARY) == 0
    assert remove_closed_now(database, FEBRUARY) == 2
