"""Amounts as shops write them: what is clear is read, and what can be read in two ways is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.currencies import EXPONENTS
from productagg.sources.prices import NoPrice, ZeroPrice, convert_price, parse_price

READ = [
    ("15.00 USD", None, 1500, "USD"),
    ("1300 USD", None, 130000, "USD"),
    ("1,252.00 EGP", None, 125200, "EGP"),
    ("3,700.00", "EUR", 370000, "EUR"),
    ("$16,980", "USD", 1698000, "USD"),
    ("1.299,00", "EUR", 129900, "EUR"),
    ("1,299.00", "EUR", 129900, "EUR"),
    ("1,600.00", "USD", 160000, "USD"),
    ("162,98", "EUR", 16298, "EUR"),
    ("11,99 €", None, 1199, "EUR"),
    ("12,34 €", "EUR", 1234, "EUR"),
    ("CHF 3,999.00", None, 399900, "CHF"),
    ("CHF 3'999.00", None, 399900, "CHF"),
    ("1 234,50 Kč", None, 123450, "CZK"),
    ("1\u202f234,50", "EUR", 123450, "EUR"),
    ("1\u00a0234", "HUF", 123400, "HUF"),
    ("1.299", "EUR", 130, "EUR"),
    ("1.299", "KWD", 1299, "KWD"),
    ("1.234.567", "EUR", 123456700, "EUR"),
    ("185.130001", "EUR", 18513, "EUR"),
    ("34.992001", "EUR", 3499, "EUR"),
    ("1999", "JPY", 1999, "JPY"),
    ("1999 RUR", None, 199900, "RUB"),
    ("10 eur", None, 1000, "EUR"),
    ("¥1,500", "JPY", 1500, "JPY"),
    ("£5", "GBP", 500, "GBP"),
    ("$5", "AUD", 500, "AUD"),
    ("5 kr", "DKK", 500, "DKK"),
    ("0.1", "KWD", 100, "KWD"),
    ("0.1", "UYW", 1000, "UYW"),
]
REFUSED = {
    "a lone point before three digits, written for people": ("$140.600", "USD"),
    "yen have no fraction": ("1.500", "JPY"),
    "a lone comma before three digits, of a currency with three": ("1,500", "KWD"),
    "a range": ("10 - 20", "EUR"),
    "two numbers": ("10 20", "EUR"),
    "two prices": ("10 EUR 20 EUR", None),
    "negative": ("-5.00", "EUR"),
    "empty": ("", "EUR"),
    "a word": ("Free", "EUR"),
    "a boolean": ("true", "EUR"),
    "zero": ("0.00", "EUR"),
    "less than half a cent": ("0.001", "EUR"),
    "no currency": ("12.50", None),
    "an empty currency": ("12.50", " "),
    "a dollar of any country": ("$12.50", None),
    "a pound that is said to be a euro": ("£5", "EUR"),
    "a dollar that is said to be a pound": ("$5", "GBP"),
    "a yen that is said to be a crown": ("5 ¥", "CZK"),
    "a crown of Sweden that is said to be one of Czechia": ("5 kr", "CZK"),
    "not a currency": ("12.50", "EURO"),
    "gold": ("12.50", "XAU"),
    "another currency beside it": ("12.50 GBP", "EUR"),
    "groups of two": ("12,34,567.00", "INR"),
    "mixed separators": ("1,234.567,00", "EUR"),
    "an exponent": ("1e3", "EUR"),
    "other digits": ("١٢٣", "EUR"),
    "more than can be stored": ("9" * 30, "EUR"),
    "endless": ("9" * 100_000, "EUR"),
    "not a number": ("NaN", "EUR"),
    "a per cent": ("5%", "EUR"),
}


@pytest.mark.parametrize(("text", "stated", "minor", "currency"), READ)
def test_it_is_read(text, stated, minor, currency):
    assert parse_price(text, stated)[:2] == (minor, currency)


@pytest.mark.parametrize(("text", "stated"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(text, stated):
    with pytest.raises(NoPrice):
        parse_price(text, stated)


@pytest.mark.parametrize(("text", "minor"), [("129,5", 12950), ("129.50", 12950), ("1 299,00", 129900), ("129", 12900)])
def test_where_the_format_has_a_decimal_comma(text, minor):
    assert parse_price(text, "CZK", decimal=",")[0] == minor


@pytest.mark.parametrize(("text", "decimal"), [("0.847", ","), ("0,847", "."), ("0.000.123", ".")])
def test_a_group_that_begins_with_zero_is_not_of_thousands(text, decimal):
    with pytest.raises(NoPrice):
        parse_price(text, "CZK", decimal=decimal)


def test_a_lost_part_of_a_minor_unit_is_reported_and_the_residue_of_a_float_is_not():
    assert parse_price("0.847", "CZK") == (85, "CZK", True)
    assert parse_price("185.130001", "EUR")[2] is False
    assert parse_price("16.24", "JPY") == (16, "JPY", True)


@given(st.integers(1, 10**15), st.sampled_from(sorted(EXPONENTS)))
def test_every_amount_of_every_currency_is_read_as_it_was_written(minor, currency):
    text = f"{Decimal(minor).scaleb(-EXPONENTS[currency]):f}"
    assert parse_price(f"{text} {currency}") == (minor, currency, False)


@given(st.text(max_size=30))
def test_any_text_is_a_price_or_refused(text):
    try:
        minor, currency, _ = parse_price(text, "EUR")
    except NoPrice:
        return
    assert minor > 0
    assert currency == "EUR"


def test_a_number_is_converted_without_passing_through_text():
    assert convert_price(Decimal("1.500"), "JPY") == (2, "JPY", True)
    assert convert_price(Decimal("12.1"), "EUR") == (1210, "EUR", False)


@pytest.mark.parametrize("amount", ["0", "0.004", "-0.0"])
def test_a_price_of_0_has_an_error_of_its_own(amount):
    with pytest.raises(ZeroPrice):
        convert_price(Decimal(amount), "EUR")


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e19", "93000000000000000"])
def test_a_number_that_is_no_amount_is_no_price(amount):
    with pytest.raises(NoPrice):
        convert_price(Decimal(amount), "EUR")
