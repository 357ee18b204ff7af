"""What the sandbox's shops asked in the past: the same as they said then."""

import json

import pytest

from productagg.sandbox import past
from productagg.sandbox.assortment import SHOPS, articles
from productagg.sandbox.quotes import quote_at

DAY = 24 * 3600
NOW = 1_796_000_000
ARTICLE = articles()["ormeley-pull-9-bar-espresso-machine"]


@pytest.mark.parametrize("shop", SHOPS.values(), ids=SHOPS)
def test_each_state_is_what_the_shop_said_at_that_time(shop):
    for at, price, items in past.states(ARTICLE, shop, NOW - 100 * DAY, NOW):
        quote = quote_at(ARTICLE, shop, at)
        assert (price, items) == (quote.price, quote.items)


def test_of_the_last_month_no_change_is_missing():
    states = past.states(ARTICLE, SHOPS["bazar24"], NOW - 100 * DAY, NOW)

    for hour in range(30 * 24):
        at = NOW - hour * 3600
        *_, (_, price, items) = (state for state in states if state[0] <= at)
        quote = quote_at(ARTICLE, SHOPS["bazar24"], at)
        assert (price, items) == (quote.price, quote.items)


def test_the_past_reaches_back_to_its_beginning_in_order():
    states = past.states(ARTICLE, SHOPS["nordkiste"], NOW - 100 * DAY, NOW)

    times = [at for at, _, _ in states]
    assert times == sorted(set(times))
    assert abs(times[0] - (NOW - 100 * DAY)) <= 8 * DAY
    assert times[-1] <= NOW


def test_each_shop_that_carries_a_product_has_a_line_and_so_has_the_offers_service(capsys, monkeypatch):
    monkeypatch.setattr(past, "YEAR", DAY)

    past.main()

    offers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    carried = {(article.slug, shop) for article in articles().values() for shop in (*article.shops, None)}
    assert {(offer["product"], offer["shop"]) for offer in offers} == carried
    assert len(offers) == len(carried)
