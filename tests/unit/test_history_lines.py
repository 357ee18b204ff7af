"""The lines of exported and imported histories: what they say, and what is wrong with them."""

from datetime import UTC, datetime
from io import BytesIO
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.history.lines import FIELDS, LARGEST, Line, header, read, write
from productagg.history.timeline import microseconds
from productagg.record_reader import RecordError
from productagg.times import parse_record_time

PRODUCT = UUID("019a0000-0000-7000-8000-000000000001")
OFFER = UUID("6f1c8a52-0a1e-4a53-9f0e-000000000002")
AT = microseconds(datetime(2024, 2, 29, 12, 0, 0, 250, UTC))
LINE = Line(PRODUCT, OFFER, AT, 1999, 5)
CSV = f"{PRODUCT},{OFFER},2024-02-29T12:00:00.000250Z,1999,5\n"
VALUES = {
    "product_id": str(PRODUCT),
    "offer_id": str(OFFER),
    "at": "2024-02-29T12:00:00Z",
    "price": 1,
    "items_in_stock": 2,
}


def read_all(text, form):
    content = text if isinstance(text, bytes) else text.encode()
    return [
        (number, str(line) if isinstance(line, RecordError) else line) for number, line in read(BytesIO(content), form)
    ]


def read_csv(*rows):
    return read_all("\n".join([",".join(FIELDS), *rows]), "csv")


def read_json(**values):
    [(number, line)] = read_all(orjson.dumps({**VALUES, **values}), "ndjson")
    assert number == 1
    return line


def test_a_line_of_csv_is_the_fields_in_their_order():
    assert header("csv") == b"product_id,offer_id,at,price,items_in_stock,currency\n"
    assert write([LINE._replace(currency="CZK")], "csv") == CSV.replace("\n", ",CZK\n").encode()


def test_a_line_of_ndjson_is_an_object_with_the_fields():
    assert header("ndjson") == b""
    assert orjson.loads(write([LINE], "ndjson")) == {
        "product_id": str(PRODUCT),
        "offer_id": str(OFFER),
        "at": "2024-02-29T12:00:00.000250Z",
        "price": 1999,
        "items_in_stock": 5,
        "currency": None,
    }


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_each_line_has_an_end(form):
    assert write([LINE, LINE], form) == write([LINE], form) * 2
    assert write([LINE], form).count(b"\n") == 1


def test_without_an_offer_a_line_is_about_the_product():
    gap, again = Line(PRODUCT, None, AT, None, None), Line(PRODUCT, None, AT, None, 0)

    assert write([gap, again], "csv").decode().splitlines() == [
        f"{PRODUCT},,2024-02-29T12:00:00.000250Z,,,",
        f"{PRODUCT},,2024-02-29T12:00:00.000250Z,,0,",
    ]
    assert (gap.is_gap, again.is_gap, LINE.is_gap) == (True, False, False)


LINES = st.builds(
    Line,
    st.uuids(),
    st.uuids(),
    st.integers(0, microseconds(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC))),
    st.integers(0, LARGEST),
    st.integers(0, LARGEST) | st.none(),
    st.sampled_from([None, "EUR", "JPY"]),
) | st.builds(Line, st.uuids(), st.none(), st.integers(0, AT), st.none(), st.sampled_from([None, 0]), st.none())


@given(lines=st.lists(LINES), form=st.sampled_from(["csv", "ndjson"]))
def test_what_is_written_is_read_back_exactly(lines, form):
    content = header(form) + write(lines, form)

    assert [line for _, line in read_all(content, form)] == lines


@given(content=st.binary(), form=st.sampled_from(["csv", "ndjson"]))
def test_whatever_the_bytes_each_line_is_a_line_or_has_a_reason(content, form):
    for number, line in read(BytesIO(content), form):
        assert number >= 1
        assert isinstance(line, Line) or str(line)


def test_an_offer_in_stock_may_have_no_number_of_items():
    assert read_json(items_in_stock=None).items_in_stock is None
    assert read_csv(f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,1,")[0][1].items_in_stock is None


def test_a_line_may_say_the_currency_of_its_price():
    assert read_json(currency="CZK").currency == "CZK"
    assert read_json().currency is None


def test_columns_may_come_in_any_order():
    content = f"at,price,items_in_stock,offer_id,product_id\n2024-02-29T12:00:00.00025Z,1999,5,{OFFER},{PRODUCT}\n"

    assert read_all(content, "csv") == [(2, LINE)]


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{','.join(FIELDS)}\r\n{CSV[:-1]}\r\n",
        f"{','.join(FIELDS)}\n{CSV[:-1]}",
        f'{",".join(FIELDS)}\n"{PRODUCT}","{OFFER}",2024-02-29T12:00:00.00025Z,1999,"5"\n',
    ],
    ids=["a spreadsheet's", "without a last line end", "quoted"],
)
def test_csv_comes_in_several_guises(content):
    assert read_all(content, "csv") == [(2, LINE)]


def test_empty_lines_are_passed_over_and_counted():
    assert read_csv("", CSV, "  ") == [(3, LINE)]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("product_id,offer_id,at,price,stock", "unknown column 'stock'"),
        ("product_id,offer_id,at,price", "the column items_in_stock is missing"),
        ("product_id,offer_id,at,price,items_in_stock,price", "the column price occurs more than once"),
        (";".join(FIELDS), "unknown column 'product_id;offer_id;at;price;items_in_stock'"),
        (CSV.strip(), "unknown column"),
        ('"product_id', "it is not CSV"),
    ],
)
def test_with_a_wrong_header_no_line_means_anything(first, reason):
    [(number, line)] = read_all(f"{first}\n{CSV}{CSV}", "csv")

    assert number == 1
    assert reason in line


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,1", "it has 4 fields, not 5"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,1,1,1", "it has 6 fields, not 5"),
        (f",{OFFER},2024-02-29T12:00:00Z,1,1", "product_id is empty"),
        (f"1,{OFFER},2024-02-29T12:00:00Z,1,1", "product_id '1' is not a UUID"),
        (f"{PRODUCT},{{{OFFER}}},2024-02-29T12:00:00Z,1,1", "is not a UUID"),
        (f"{PRODUCT},{str(OFFER).replace('-', '_')},2024-02-29T12:00:00Z,1,1", "is not a UUID"),
        (f"{PRODUCT},{OFFER},,1,1", "at is not a time"),
        (f"{PRODUCT},{OFFER},2024-02-29,1,1", "'2024-02-29' is not a time"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00,1,1", "has no time zone"),
        (f"{PRODUCT},{OFFER},2023-02-29T12:00:00Z,1,1", "'2023-02-29T12:00:00Z' is not a time: day is out of range"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00.1234567Z,1,1", "with at most 6 decimals"),
        (f"{PRODUCT},{OFFER},1969-12-31T23:59:59Z,1,1", "is before 1970"),
        (f"{PRODUCT},{OFFER},9999-12-31T23:59:59-01:00,1,1", "is not a time: date value out of range"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,-1,1", "price '-1' is not a whole number from 0"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,1.5,1", "price '1.5' is not a whole number"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,1_000,1", "price '1_000' is not a whole number"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,١,1", "is not a whole number"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,{2**63},1", "is not a whole number from 0 to 9223372036854775807"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,{'9' * 5000},1", "is not a whole number"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,1,-1", "items_in_stock '-1' is not a whole number"),
        (f"{PRODUCT},{OFFER},2024-02-29T12:00:00Z,,1", "price is empty"),
        (f"{PRODUCT},,2024-02-29T12:00:00Z,1,", "without an offer_id, price is empty"),
        (f"{PRODUCT},,2024-02-29T12:00:00Z,,1", "without an offer_id, price is empty"),
        (f'{PRODUCT},"{OFFER},2024-02-29T12:00:00Z,1,1', "it is not CSV"),
        ("x" * 20_000, "it is longer than 10000 bytes"),
    ],
)
def test_a_bad_line_of_csv_has_its_number_and_reason_and_the_next_one_is_read(row, reason):
    (number, line), after = read_csv(row, CSV)

    assert number == 2
    assert reason in line
    assert len(line) < 200
    assert after == (3, LINE)


def test_a_line_that_is_not_utf_8_has_its_number():
    content = f"{','.join(FIELDS)}\n{CSV}".encode() + b"\xff,,,,\n" + CSV.encode()

    assert read_all(content, "csv") == [(2, LINE), (3, "it is not UTF-8"), (4, LINE)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"price": -1}, "price -1 is not a whole number"),
        ({"price": 1.0}, "price 1.0 is not a whole number"),
        ({"price": "1"}, "price '1' is not a whole number"),
        ({"price": True}, "price True is not a whole number"),
        ({"price": 2**63}, "price 9223372036854775808 is not a whole number"),
        ({"currency": "eur"}, "currency 'eur' is not a code of ISO 4217"),
        ({"currency": 978}, "currency 978 is not a code of ISO 4217"),
        ({"product_id": None}, "product_id is empty"),
        ({"product_id": 1}, "product_id 1 is not a UUID"),
        ({"offer_id": "1"}, "offer_id '1' is not a UUID"),
        ({"at": 1}, "at is not a time"),
        ({"at": None}, "at is not a time"),
        ({"at": "2024-02-29T12:00:00"}, "has no time zone"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_bad_line_of_ndjson_has_a_reason(values, reason):
    assert reason in read_json(**values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "it is not JSON"), ("[]", "it is not a JSON object"), ("{}", "the field product_id is missing")],
)
def test_a_line_that_is_no_object_of_ndjson_has_a_reason(text, reason):
    [(_, line)] = read_all(text, "ndjson")

    assert reason in line


def test_the_largest_numbers_stay_exact():
    line = read_json(price=LARGEST, items_in_stock=LARGEST - 1)

    assert (line.price, line.items_in_stock) == (2**63 - 1, 2**63 - 2)
    assert read_all(header("csv") + write([line], "csv"), "csv") == [(2, line)]


@pytest.mark.parametrize(
    "text",
    ["2024-02-29T12:00:00Z", "2024-02-29t12:00:00.0z", "2024-02-29 12:00:00Z", "2024-02-29T14:00:00+02:00"],
)
def test_a_time_has_several_forms(text):
    assert parse_record_time(text) == datetime(2024, 2, 29, 12, tzinfo=UTC)
