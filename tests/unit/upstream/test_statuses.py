"""What each status means, for each of the three exchanges, and until when a service that is busy is left alone."""

import string
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from productagg.sandbox import Fault
from productagg.upstream import (
    BadRefreshToken,
    Busy,
    InvalidAnswer,
    NotRegistered,
    OffersClient,
    Refused,
    StillValid,
    Unauthorized,
    Unavailable,
)
from tests.conftest import REFRESH_TOKEN
from tests.unit.upstream.servers import ScriptedServer, always, answer

LONGEST = timedelta(hours=1)


def authenticate(client):
    return client.authenticate()


def register(client):
    return client.register("a-token", uuid4(), "Kettle", "Boils water")


def offers(client):
    return client.offers("a-token", uuid4())


EXCHANGES = [authenticate, register, offers]


@pytest.mark.parametrize(
    ("exchange", "status", "error"),
    [
        (authenticate, 400, StillValid),
        (authenticate, 401, BadRefreshToken),
        (authenticate, 422, Refused),
        (authenticate, 404, InvalidAnswer),
        (authenticate, 409, InvalidAnswer),
        (authenticate, 200, InvalidAnswer),
        (register, 401, Unauthorized),
        (register, 422, Refused),
        (register, 400, InvalidAnswer),
        (register, 404, InvalidAnswer),
        (register, 200, InvalidAnswer),
        (register, 204, InvalidAnswer),
        (offers, 401, Unauthorized),
        (offers, 404, NotRegistered),
        (offers, 422, Refused),
        (offers, 400, InvalidAnswer),
        (offers, 409, InvalidAnswer),
        (offers, 201, InvalidAnswer),
        (offers, 206, InvalidAnswer),
        *((exchange, status, Unavailable) for exchange in EXCHANGES for status in (500, 502, 504, 599)),
        *((exchange, status, Busy) for exchange in EXCHANGES for status in (429, 503)),
    ],
)
def test_a_status_says_what_is_wrong(connect, serve, exchange, status, error):
    server = serve(always(answer(b"" if status == 204 else b"[]", f"{status} Whatever")))

    with pytest.raises(error) as raised:
        exchange(connect(server.base_url))

    assert raised.type is error
    assert len(server.requests) == 1


def test_that_a_product_is_registered_already_is_success(client, token, product_id):
    client.register(token, product_id, "Kettle", "Boils water")


def test_a_product_that_the_service_forgot_is_told_from_one_without_offers(client, token, product_id, upstream):
    assert client.offers(token, product_id) == {}

    upstream.service.forget_products()

    with pytest.raises(NotRegistered):
        client.offers(token, product_id)


class TestTheAccessToken:
    def test_it_expires_when_it_says(self, client):
        token = client.authenticate()

        exp = jwt.decode(token.value, options={"verify_signature": False})["exp"]
        assert token.expires_at == datetime.fromtimestamp(exp, UTC)

    def test_there_is_no_second_one_while_it_is_valid(self, client, token):
        with pytest.raises(StillValid):
            client.authenticate()

    def test_another_refresh_token_gets_none(self, connect, upstream):
        with pytest.raises(BadRefreshToken, match="OFFERS_REFRESH_TOKEN"):
            connect(upstream.base_url, refresh_token="another").authenticate()

    @pytest.mark.parametrize(
        "value",
        [
            "opaque",
            "a.b.c",
            jwt.encode({"sub": "us"}, "k" * 32),
            jwt.encode({"exp": None}, "k" * 32),
            # Seconds beyond every calendar, and no seconds at all.
            "e30." + "eyJleHAiOiAxZTMwMH0." + "c2ln",
            "e30." + "eyJleHAiOiBOYU59." + "c2ln",
            "e30." + "eyJleHAiOiBbXX0." + "c2ln",
            "eyJhbGciOiJub25lIn0." + "W1tb" * 50_000 + ".c2ln",
        ],
        ids=["opaque", "dots", "no exp", "null", "too late", "NaN", "array", "deep"],
    )
    def test_one_that_does_not_say_when_it_ends_is_good_all_the_same(self, connect, serve, value):
        server = serve(always(answer(b'{"access_token": "%b"}' % value.encode(), "201 Created")))

        token = connect(server.base_url).authenticate()

        assert (token.value, token.expires_at) == (value, None)

    @pytest.mark.parametrize(
        "body",
        [
            "[]",
            "null",
            "{}",
            '{"access_token": null}',
            '{"access_token": 7}',
            '{"access_token": ""}',
            '{"access_token": " "}',
            '{"access_token": " padded"}',
            '{"access_token": "two words"}',
            '{"access_token": "a\\r\\nHeader: b"}',
            '{"access_token": "caf\\u00e9"}',
        ],
    )
    def test_what_cannot_be_sent_as_a_header_is_none(self, connect, serve, body):
        server = serve(always(answer(body.encode(), "201 Created")))

        with pytest.raises(InvalidAnswer, match="access_token"):
            connect(server.base_url).authenticate()


class TestABusyService:
    """429 and 503 concern the whole service: for as long as `retry_after` nobody should ask it for anything."""

    def ask(self, base_url):
        """How long it wants to be left alone."""
        with OffersClient(base_url, REFRESH_TOKEN, 5) as client, pytest.raises(Busy) as raised:
            client.offers("a-token", uuid4())
        return raised.value.retry_after

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("params", "seconds"),
        [
            ({"form": "seconds", "retry_after": 0}, 0),
            ({"form": "seconds", "retry_after": 120}, 120),
            ({"form": "seconds", "retry_after": 3601}, 3600),
            ({"form": "date", "retry_after": 7200}, 3600),
            ({"form": "nonsense"}, 60),
        ],
    )
    def test_it_says_until_when(self, upstream, status, params, seconds):
        upstream.faults.replace([Fault("rate_limit", {"status": status, **params})])

        assert self.ask(upstream.base_url) == pytest.approx(timedelta(seconds=seconds), abs=timedelta(seconds=1))

    def test_a_date_is_in_whole_seconds(self, upstream):
        upstream.faults.replace([Fault("rate_limit", {"form": "date", "retry_after": 120})])

        assert timedelta(seconds=118) < self.ask(upstream.base_url) <= timedelta(seconds=120)

    def test_one_that_does_not_say_is_left_alone_for_a_minute(self, serve):
        server = serve(always(answer(b"", "503 Service Unavailable")))

        assert self.ask(server.base_url) == timedelta(seconds=60)

    @pytest.mark.parametrize("form", ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"], ids=["RFC 850", "asctime"])
    def test_the_two_old_forms_of_a_date_are_understood(self, serve, form):
        named = datetime.now(UTC) + timedelta(minutes=10)
        server = serve(always(answer(b"", "429 Too Many Requests", f"Retry-After: {named:{form}}")))

        assert timedelta(minutes=10, seconds=-2) < self.ask(server.base_url) <= timedelta(minutes=10)

    def test_a_time_that_has_passed_is_now(self, serve):
        named = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
        server = serve(always(answer(b"", "429 Too Many Requests", f"Retry-After: {named}")))

        assert self.ask(server.base_url) == timedelta(0)

    @pytest.mark.parametrize(
        "pieces",
        [
            [b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 10\r\n\r\ncut", None],
            [b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"],
            [b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
        ],
        ids=["cut off", "not gzip", "bad chunk"],
    )
    def test_it_is_heard_even_if_the_body_is_broken(self, serve, pieces):
        assert self.ask(serve(always(*pieces)).base_url) == timedelta(seconds=120)

    def test_whatever_it_says_it_is_left_alone_for_an_hour_at_most(self):
        text = ""
        with ScriptedServer(lambda _: [answer(b"", "503 Busy", f"Retry-After: {text}")]) as server:
            printable = st.text(string.printable.strip())
            digits = st.text("0123456789", min_size=1)

            @settings(max_examples=100, deadline=None)
            @given(printable | digits | st.datetimes().map(lambda each: format_datetime(each.replace(tzinfo=UTC))))
            @example("9" * 10_000)
            @example("00000000000000000000000000000000000000000000000007")
            @example("Fri, 31 Dec 9999 23:59:59 -2359")
            @example("Mon, 01 Jan 0001 00:00:00 +2359")
            @example("-1")
            @example("1.5")
            @example("²")
            def check(value):
                nonlocal text
                text = value

                assert timedelta(0) <= self.ask(server.base_url) <= LONGEST

            check()
