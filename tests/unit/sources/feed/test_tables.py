"""Tables: Google Merchant's columns, and columns mapped to fields."""

import colander
import pytest

from productagg.sources.feed.adapter import FeedAdapter
from tests.unit.sources.feed.feeds import URL, failure, outcomes, read, read_one, rejected

TSV = (
    "id\ttitle\tprice\tsale price\tavailability\tshipping\tbrand\n"
    "A\tShoe\t12.50 EUR\t9.90 EUR\tin stock\tDE:::4.90 EUR\tNorthpath\n"
)
MAPPING = {"Nr": "id", "Name": "name", "Preis": "price", "Bestand": "items_in_stock"}


def mapped(*rows, **options):
    body = "Nr;Name;Preis;Bestand;Rest\n" + "".join(f"{row}\n" for row in rows)
    return read(body, mapping=MAPPING, currency="EUR", **options)


@pytest.mark.parametrize(
    "body",
    [
        TSV,
        TSV.replace("\t", ";"),
        TSV.replace("\t", ","),
        TSV.replace("\t", "|"),
        TSV.replace("\n", "\r\n"),
        TSV.upper(),
    ],
)
def test_a_table_with_googles_columns(body):
    offer = read_one(body)
    assert (offer.price, offer.availability, offer.condition, offer.shipping) == (990, "in_stock", "new", 490)
    assert offer.product.name.lower() == "shoe"


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks():
    assert read_one('id,title,price\nA,"A ""shoe"",\nblue",5.00 EUR\n').product.name == 'A "shoe",\nblue'


def test_a_quote_within_a_cell_is_text():
    assert read_one('id\ttitle\tprice\nA\t24" screen\t5.00 EUR\n').product.name == '24" screen'


def test_a_table_without_a_price_column_is_a_failure_that_lists_the_columns():
    found = failure("id\tcustom label 0\nA\tx\n")
    assert found.code == "no_price_column"
    assert "custom label 0" in found.reason
    assert "supplemental" in found.reason


def test_two_columns_of_the_same_name_are_a_failure():
    assert failure("id\tprice\tprice\nA\t1 EUR\t2 EUR\n").code == "repeated_column"


def test_a_row_of_another_shape_is_rejected_and_the_table_not_complete():
    body = "id\ttitle\tprice\nA\tShoe\t5.00 EUR\nB\tA\ttab\t5.00 EUR\nC\tShoe\t5.00 EUR\n"
    (snapshot,) = outcomes(body)
    assert [offer.locator for offer in snapshot.offers] == ["A", "C"]
    assert rejected(body) == {"item 2": "it has 4 cells instead of 3"}
    assert not snapshot.complete
    assert snapshot.incomplete_because == "1 rows have another number of cells than the header."


def test_empty_rows_and_a_delimiter_at_the_end_of_rows_mean_nothing():
    assert len(read("id;price\n\nA;5 EUR;\n;\nB;5 EUR\n")) == 2


def test_without_a_line_break_at_its_end_a_table_may_be_cut():
    (snapshot,) = outcomes("id\tprice\ttitle\nA\t5.00 EUR\tSho")
    assert len(snapshot.offers) == 1
    assert not snapshot.complete
    assert failure("id\tprice\nA\t5.00 EU").code == "no_offers"


def test_columns_by_a_mapping():
    (offer,) = mapped("A;Schuh;1.299,00;7;x")
    assert (offer.locator, offer.price, offer.currency, offer.product.name) == ("A", 129900, "EUR", "Schuh")
    assert (offer.items_in_stock, offer.availability, offer.condition) == (7, "in_stock", "unknown")


@pytest.mark.parametrize(("stock", "availability"), [("0", "out_of_stock"), ("", "unknown"), ("viele", "unknown")])
def test_availability_by_the_number_of_pieces(stock, availability):
    assert mapped(f"A;Schuh;5;{stock};")[0].availability == availability


@pytest.mark.parametrize("price", ["1.299", "1,299", "1.500", "5 - 7", "ab 5", "5 USD 6"])
def test_a_price_that_can_be_read_in_two_ways_is_refused(price):
    assert [offer.locator for offer in mapped(f"A;Schuh;{price};;", "B;Schuh;5;;")] == ["B"]


def test_the_currency_and_the_seller_of_a_row():
    mapping = {"a": "id", "b": "price", "c": "currency", "d": "seller"}
    offers = read("a,b,c,d\n1,5,USD,One\n2,5,,\n", mapping=mapping, currency="EUR")
    assert [(offer.currency, offer.seller) for offer in offers] == [("USD", "One"), ("EUR", "The source")]


def test_the_configured_delimiter_and_encoding():
    offer = read_one("id^title^price\nA^Kůň, a^5 EUR\n".encode("cp1250"), delimiter="^", encoding="cp1250")
    assert offer.product.name == "Kůň, a"


def test_a_byte_order_mark_is_no_part_of_the_first_column():
    assert len(read(TSV.encode("utf-8-sig"))) == len(read(TSV.encode("utf-8-sig"), encoding="utf-8")) == 1


def test_text_that_is_not_in_its_encoding_is_a_failure():
    assert failure("id,title,price\nA,Kůň,5 EUR\n".encode("cp1250")).code == "wrong_encoding"


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://shop.example"},
        {"format": "rss"},
        {"currency": "XXX"},
        {"country": "Germany"},
        {"encoding": "punycode"},
        {"delimiter": "::"},
        {"mapping": {"a": "id"}},
        {"mapping": {"a": "id", "b": "price", "c": "colour"}},
        {"mapping": {"a": "id", "b": "price", "c": "price"}},
        {"mapping": {"a": "id", "b": "price", "c": ["x"]}},
        {"in_stock_days": -1},
        {"in_stock_days": 1.5},
        {"beyond": "in_stock"},
    ],
)
def test_a_configuration_that_means_nothing_is_refused(options):
    with pytest.raises(colander.Invalid):
        FeedAdapter.configuration_schema().deserialize({"url": URL, **options})
