"""Prices in JSON, in the format that the configuration states. A wrong price is worse than none."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.currencies import EXPONENTS
from productagg.offers.money import to_minor
from tests.unit.sources.json_api.documents import configuration, fetch_list, read_item, read_offer, rejection

SCALED = {"price_scale": "decimals"}


def price_of(item, fields=None, **changes):
    offer = read_offer(item, fields, **changes)
    return offer.price, offer.currency


class TestDecimal:
    @pytest.mark.parametrize(
        ("written", "minor"),
        [
            ("12.1", 1210),
            ("0.29", 29),
            ("1.1e1", 1100),
            ("4.35", 435),
            ("1.005", 101),
            ("34.992001", 3499),
            ("0.30000000000000004", 30),
            ("1300", 130000),
            ("92233720368547758", 9223372036854775800),
        ],
    )
    def test_a_number_is_the_amount_that_the_source_wrote(self, written, minor):
        body = f'[{{"id": 1, "sku": "A", "price": {written}}}]'.encode()

        [snapshot] = fetch_list(configuration(), body)

        assert snapshot.offers[0].price == minor

    @pytest.mark.parametrize("written", ["9007199254740993.0", "12345678901234.567", "1e300", "123456789012345678901"])
    def test_a_number_that_a_double_does_not_hold_exactly_is_refused(self, written):
        body = f'[{{"id": 1, "sku": "A", "price": {written}}}]'.encode()

        [snapshot] = fetch_list(configuration(), body)

        assert snapshot.offers == []

    @given(st.decimals("0.01", "99999999.99", places=2))
    def test_every_amount_of_cents_is_read_exactly_as_a_number_and_as_a_text(self, amount):
        minor = to_minor(amount, "EUR")

        assert price_of({"price": float(amount)}) == (minor, "EUR")
        assert price_of({"price": str(amount)}) == (minor, "EUR")

    @pytest.mark.parametrize(
        ("text", "minor"),
        [("3,700.00", 370000), ("1,600.00", 160000), ("162,98", 16298), ("11,99 €", 1199), ("1.299,00", 129900)],
    )
    def test_a_text_for_people_is_read_if_it_is_clear(self, text, minor):
        assert price_of({"price": text}) == (minor, "EUR")

    def test_decimals_are_optional(self):
        assert price_of({"price": "1300 USD"}, currency=None) == (130000, "USD")

    def test_a_text_with_another_currency_than_configured_is_refused(self):
        assert "USD" in rejection({"price": "13 USD"})

    @pytest.mark.parametrize("value", [True, False, [], {}, [12], {"amount": 12}, "Free", "10-20", -5, -0.5, "true"])
    def test_what_is_no_amount_is_refused(self, value):
        assert rejection({"price": value}).startswith("price: ")

    def test_fractions_of_a_cent_are_rounded_with_a_remark(self):
        snapshot = read_item({"price": 0.847}, currency="CZK")

        assert [offer.price for offer in snapshot.offers] == [85]
        assert "rounded" in snapshot.remarks[0].reason


class TestMinorUnits:
    @pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD", "CLF"])
    @pytest.mark.parametrize("value", [1999, "1999", " 1999 "])
    def test_a_whole_number_is_taken_as_it_is(self, value, currency):
        assert price_of({"price": value}, price_format="minor", currency=currency) == (1999, currency)

    @pytest.mark.parametrize("value", [19.99, 19.0, "19.99", "19,99", "19 EUR", True, None, [], "-1", -1, "9" * 30])
    def test_what_looks_like_major_units_is_refused(self, value):
        assert rejection({"price": value}, price_format="minor").startswith("price: ")


class TestScaled:
    @pytest.mark.parametrize(
        ("currency", "decimals", "value", "minor"),
        [
            ("USD", 0, "229", 22900),
            ("USD", 2, "22900", 22900),
            ("USD", 3, "22900", 2290),
            ("JPY", 0, "1624", 1624),
            ("KWD", 3, "1624", 1624),
            ("KWD", 2, "1624", 16240),
            ("HUF", 0, "600", 60000),
            ("HUF", "2", 60000, 60000),
        ],
    )
    def test_the_shops_decimals_are_not_the_currencys(self, currency, decimals, value, minor):
        item = {"price": value, "decimals": decimals}

        assert price_of(item, SCALED, price_format="scaled", currency=currency) == (minor, currency)

    def test_yen_that_a_shop_keeps_with_two_decimals_lose_them_with_a_remark(self):
        snapshot = read_item({"price": "1624", "decimals": 2}, SCALED, price_format="scaled", currency="JPY")

        assert [offer.price for offer in snapshot.offers] == [16]
        assert "rounded" in snapshot.remarks[0].reason

    @pytest.mark.parametrize("decimals", [None, -1, 2.0, 10, "", "two", True, []])
    def test_an_unusable_number_of_decimals_is_refused(self, decimals):
        item = {"price": 1999, "decimals": decimals}

        assert rejection(item, SCALED, price_format="scaled").startswith("price_scale: ")

    @given(st.sampled_from(sorted(EXPONENTS)), st.integers(1, 10**9))
    def test_with_the_currencys_own_decimals_it_is_minor_units(self, currency, value):
        item = {"price": value, "decimals": EXPONENTS[currency]}

        assert price_of(item, SCALED, price_format="scaled", currency=currency) == (value, currency)

    @given(st.integers(1, 10**9), st.integers(0, 6))
    def test_it_is_the_price_divided_by_ten_to_the_scale(self, value, decimals):
        item = {"price": value, "decimals": decimals}
        expected = to_minor(Decimal(value) / Decimal(10**decimals), "EUR")

        snapshot = read_item(item, SCALED, price_format="scaled")

        assert [offer.price for offer in snapshot.offers] == ([expected] if expected else [])


class TestCurrency:
    def test_it_belongs_to_the_item(self):
        items = [
            {"id": n, "sku": "A", "price": 5, "currency": code} for n, code in enumerate(["EUR", "usd", "TRY", "RUR"])
        ]

        [snapshot] = fetch_list(configuration({"currency": "currency"}, currency=None), json.dumps(items).encode())

        assert [offer.currency for offer in snapshot.offers] == ["EUR", "USD", "TRY", "RUB"]

    def test_without_any_the_price_is_refused(self):
        assert rejection({"price": 5}, {"currency": "currency"}, currency=None) == "price: the price has no currency"
        assert rejection({"price": "5"}, currency=None) == "price: the price has no currency"
        assert rejection({"price": "$5"}, currency=None) == "price: the price has no currency"

    @pytest.mark.parametrize("stated", [None, "", " "])
    def test_the_configured_one_is_for_prices_without(self, stated):
        assert price_of({"price": 5, "currency": stated}, {"currency": "currency"}) == (500, "EUR")

    @pytest.mark.parametrize("stated", ["XAU", "EURO", "BTC", 978, [], {}, False])
    def test_one_that_is_none_is_not_replaced_by_the_configured_one(self, stated):
        assert rejection({"price": 5, "currency": stated}, {"currency": "currency"})

    def test_a_constant_is_an_expression_too(self):
        assert price_of({"price": 5}, {"currency": "'CZK'"}) == (500, "CZK")


class TestNoPrice:
    @pytest.mark.parametrize("value", [0, 0.0, "0", "0.00", "", " ", None, 0.001])
    def test_a_price_of_0_or_none_is_no_offer(self, value):
        assert rejection({"price": value}).startswith("price: ")

    def test_the_price_to_pay_is_what_the_expression_says(self):
        item = {"price": "200.00", "sale_price": "150.00"}

        assert price_of(item, {"price": "sale_price || price"}) == (15000, "EUR")
        assert price_of({**item, "sale_price": ""}, {"price": "sale_price || price"}) == (20000, "EUR")
