"""A list of offers: taken when it is whole and valid, and otherwise, with the reason, not at all."""

from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from productagg.sources.offers_service.client import InvalidAnswer, OffersClient
from tests.conftest import REFRESH_TOKEN
from tests.scale import examples
from tests.unit.upstream.servers import ScriptedServer, always, answer

FIRST = "6fa459ea-ee8a-4ca4-894e-db77e160355e"
SECOND = "7fa459ea-ee8a-4ca4-894e-db77e160355e"
LARGEST = 2**63 - 1


def offer(id_=FIRST, price=100, items_in_stock=5, **others):
    return {"id": id_, "price": price, "items_in_stock": items_in_stock, **others}


@pytest.fixture
def read(connect, serve):
    """What the client makes of a body: bytes as they are, everything else as JSON."""

    def read(body):
        body = body if isinstance(body, bytes) else orjson.dumps(body)
        return connect(serve(always(answer(body))).base_url).offers("a-token", uuid4())

    return read


class TestWholeAndValid:
    @pytest.mark.parametrize(
        ("body", "offers"),
        [
            ([], {}),
            (b" \n[ ] ", {}),
            ([offer()], {UUID(FIRST): (100, 5)}),
            ([offer(), offer(SECOND, 7, 0)], {UUID(FIRST): (100, 5), UUID(SECOND): (7, 0)}),
            ([offer(FIRST.upper())], {UUID(FIRST): (100, 5)}),
            ([offer(price=0, items_in_stock=0)], {UUID(FIRST): (0, 0)}),
            ([offer(price=LARGEST, items_in_stock=LARGEST)], {UUID(FIRST): (LARGEST, LARGEST)}),
            ([offer(currency="CZK", shop={"name": "…"})], {UUID(FIRST): (100, 5)}),
        ],
    )
    def test_it_is_the_truth(self, read, body, offers):
        assert read(body) == offers

    def test_any_number_of_offers_is_read_as_it_was_written(self):
        body = b""
        integers = st.integers(0, LARGEST)
        stock = st.integers(0, LARGEST // 50)
        with (
            ScriptedServer(lambda _: [answer(body)]) as server,
            OffersClient(server.base_url, REFRESH_TOKEN, 5) as client,
        ):

            @settings(max_examples=examples(50), deadline=None)
            @given(st.dictionaries(st.uuids(), st.tuples(integers, stock), max_size=50))
            def check(offers):
                nonlocal body
                body = orjson.dumps([offer(str(id_), *state) for id_, state in offers.items()])

                assert client.offers("a-token", uuid4()) == offers

            check()


class TestInvalid:
    """Each of these says nothing about the offers, the good ones in the same list included."""

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not JSON"),
            (b'[{"id": "6fa459', "not JSON"),
            (b"<html><body>It works!</body></html>", "not JSON"),
            (b'["\xff\xfe"]', "not JSON"),
            (b"\xef\xbb\xbf[]", "not JSON"),
            (b"[" * 200_000 + b"]" * 200_000, "not JSON"),
            (b"[] []", "not JSON"),
            (orjson.dumps([offer()]).replace(b"100", b"NaN"), "not JSON"),
            (orjson.dumps([offer()]).replace(b"100", b"Infinity"), "not JSON"),
            (orjson.dumps([offer()]).replace(b"100", b"0x64"), "not JSON"),
            ({"offers": []}, "not a list but an object"),
            (None, "not a list but missing or null"),
            ("[]", "not a list but a string"),
            (7, "not a list but a number"),
            (False, "not a list but a boolean"),
            ([None], "offer 0 is not an object but missing or null"),
            ([offer(), [offer(SECOND)]], "offer 1 is not an object but an array"),
            ([offer(), offer(FIRST)], f"offer 1 has the same id as another one, {FIRST}"),
            ([offer(), offer(FIRST.upper())], f"offer 1 has the same id as another one, {FIRST}"),
        ],
    )
    def test_a_body_of_another_shape(self, read, body, reason):
        with pytest.raises(InvalidAnswer, match=reason):
            read(body)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            7,
            True,
            "",
            "offer-1",
            FIRST.replace("-", ""),
            FIRST[:-1],
            FIRST + "0",
            FIRST.replace("6", "g", 1),
            f"{{{FIRST}}}",
            f"urn:uuid:{FIRST}",
            # 36 characters that a lenient reader takes for a UUID.
            f"{{{FIRST.replace('-', '')}}}--",
            "6-fa459eaee8a-4ca4-894e-db77e160355e",
            f" {FIRST}",
            [FIRST],
        ],
    )
    def test_an_id_that_is_no_uuid(self, read, value):
        with pytest.raises(InvalidAnswer, match="offer 1 has no id that is a UUID"):
            read([offer(SECOND), offer(value)])

    @pytest.mark.parametrize("field", ["price", "items_in_stock"])
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("100", "is not an integer but a string"),
            (100.0, "is not an integer but a number"),
            (99.5, "is not an integer but a number"),
            (True, "is not an integer but a boolean"),
            (None, "is not an integer but missing or null"),
            ([100], "is not an integer but an array"),
            ({"amount": 100}, "is not an integer but an object"),
            (-1, "is out of range"),
            (LARGEST + 1, "is out of range"),
            # Of another type or out of range: a number that no 64 bits hold may be read as either.
            (10**30, "is not an integer|is out of range"),
            (-(10**30), "is not an integer|is out of range"),
        ],
    )
    def test_a_price_or_a_stock_that_is_no_64_bit_count(self, read, field, value, reason):
        body = orjson.dumps([offer(SECOND), offer(**{field: 777})]).replace(b"777", dumps(value))

        with pytest.raises(InvalidAnswer, match=f"offer 1: {field} ({reason})"):
            read(body)

    @pytest.mark.parametrize("field", ["id", "price", "items_in_stock"])
    def test_an_offer_without_one_of_its_fields(self, read, field):
        incomplete = offer()
        del incomplete[field]

        with pytest.raises(InvalidAnswer, match="offer 0"):
            read([incomplete])

    def test_stock_that_adds_up_to_more_than_64_bits_hold(self, read):
        assert len(read([offer(FIRST, 1, LARGEST - 1), offer(SECOND, 1, 1)])) == 2

        with pytest.raises(InvalidAnswer, match="add up"):
            read([offer(FIRST, 1, LARGEST), offer(SECOND, 1, 1)])


def dumps(value):
    return str(value).encode() if type(value) is int else orjson.dumps(value)
