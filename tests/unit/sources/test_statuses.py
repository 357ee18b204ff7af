"""What every status means at the three endpoints, and how long a busy service is left alone."""

import json
import string
from base64 import urlsafe_b64encode as b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from productagg.sandbox import Fault
from productagg.sources.offers_service.client import OffersClient
from productagg.sources.offers_service.errors import (
    BadRefreshToken,
    Busy,
    InvalidResponse,
    NotRegistered,
    Refused,
    TokenStillValid,
    Unauthorized,
    Unavailable,
)
from productagg.sources.offers_service.parsing import AccessToken
from tests.conftest import REFRESH_TOKEN
from tests.scale import examples
from tests.scripted_server import ScriptedServer, always, answer

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
        (authenticate, 400, TokenStillValid),
        (authenticate, 401, BadRefreshToken),
        (authenticate, 422, Refused),
        (authenticate, 404, InvalidResponse),
        (authenticate, 409, InvalidResponse),
        (authenticate, 200, InvalidResponse),
        (register, 401, Unauthorized),
        (register, 422, Refused),
        (register, 400, InvalidResponse),
        (register, 404, InvalidResponse),
        (register, 200, InvalidResponse),
        (register, 204, InvalidResponse),
        (offers, 401, Unauthorized),
        (offers, 404, NotRegistered),
        (offers, 422, Refused),
        (offers, 400, InvalidResponse),
        (offers, 409, InvalidResponse),
        (offers, 201, InvalidResponse),
        (offers, 206, InvalidResponse),
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


def unsigned(claims):
    """A JWT with a meaningless signature: the client cannot check it."""
    return ".".join(b64encode(part).decode().rstrip("=") for part in (b'{"alg": "HS256"}', claims.encode(), b"sig"))


class TestTheAccessToken:
    @pytest.mark.parametrize("claim", ["expires", "exp"])
    def test_it_expires_when_it_says(self, client, upstream, claim):
        upstream.service.token_claim = claim

        token = client.authenticate()

        said = jwt.decode(token.value, options={"verify_signature": False})[claim]
        assert token.expires_at == datetime.fromtimestamp(said, UTC)

    @pytest.mark.parametrize(
        ("claims", "expires_at"),
        [
            ({"expires": 4_000_000_000}, 4_000_000_000),
            ({"expires": 4_000_000_000.5}, 4_000_000_000.5),
            ({"expires": "4000000000"}, 4_000_000_000),
            ({"exp": "4000000000.5"}, 4_000_000_000.5),
            ({"exp": 4_000_000_000, "expires": 4_000_000_100}, 4_000_000_000),
            ({"exp": None, "expires": 4_000_000_000}, 4_000_000_000),
            ({"exp": "soon", "expires": 4_000_000_000}, 4_000_000_000),
            # Milliseconds, and a number of seconds from now.
            ({"exp": 4_000_000_000_000, "expires": 4_000_000_000}, 4_000_000_000),
            ({"exp": 300, "expires": 4_000_000_000}, 4_000_000_000),
        ],
    )
    def test_its_end_is_a_time_in_seconds_as_a_number_or_a_text(self, connect, serve, claims, expires_at):
        value = unsigned(json.dumps(claims))
        server = serve(always(answer(json.dumps({"access_token": value}).encode(), "201 Created")))

        assert connect(server.base_url).authenticate() == AccessToken(value, datetime.fromtimestamp(expires_at, UTC))

    def test_there_is_no_second_one_while_it_is_valid(self, client, token):
        with pytest.raises(TokenStillValid):
            client.authenticate()

    def test_another_refresh_token_gets_none(self, connect, upstream):
        with pytest.raises(BadRefreshToken, match="OFFERS_REFRESH_TOKEN"):
            connect(upstream.base_url, refresh_token="another").authenticate()

    @pytest.mark.parametrize(
        "value",
        [
            "opaque",
            "a.b.c",
            "two words",
            "a\ttab",
            "caf\u00e9",
            "~!@#$%^&*()_+{}|:\"<>?`-=[];',./\\",
            "\u0080\u00ff",
            "x" * 4000,
            *(
                unsigned(claims)
                for claims in (
                    '{"sub": "us"}',
                    "[]",
                    '"exp"',
                    "no JSON",
                    "[" * 50_000,
                )
            ),
            *(
                unsigned('{"%s": %s}' % (claim, end))  # noqa: UP031 - braces
                for claim in ("exp", "expires")
                for end in (
                    "null",
                    "true",
                    "[]",
                    "{}",
                    '""',
                    '"soon"',
                    '"NaN"',
                    '"2100-01-01T00:00:00Z"',
                    "NaN",
                    "Infinity",
                    "1e300",
                    "9" * 5000,
                    # In milliseconds, from now on, before there were tokens, and over.
                    "4000000000000",
                    "300",
                    "-1",
                    "1000000000",
                )
            ),
        ],
        ids=lambda value: value[:60],
    )
    def test_one_that_does_not_say_when_it_ends_is_used_all_the_same(self, connect, serve, value):
        body = json.dumps({"access_token": value})
        server = serve(lambda request: [answer() if request.method == "GET" else answer(body.encode(), "201 Created")])
        client = connect(server.base_url)

        token = client.authenticate()
        client.offers(token.value, uuid4())

        assert token == AccessToken(value, None)
        assert server.requests[-1].header("Bearer") == [value]

    @pytest.mark.parametrize(
        "body",
        [
            "[]",
            "null",
            "{}",
            '{"access_token": null}',
            '{"access_token": 7}',
            '{"access_token": ["a-token"]}',
            '{"access_token": ""}',
            # A header's value neither begins nor ends with one.
            '{"access_token": " "}',
            '{"access_token": " padded"}',
            '{"access_token": "padded\\t"}',
            '{"access_token": "a\\r\\nHeader: b"}',
            '{"access_token": "a\\r\\n folded"}',
            '{"access_token": "a-token\\n"}',
            '{"access_token": "a\\u0000b"}',
            '{"access_token": "a\\u001bb"}',
            '{"access_token": "a\\u007fb"}',
            '{"access_token": "\\u20ac"}',
            '{"access_token": "\\ud800"}',
        ],
    )
    def test_what_cannot_be_sent_as_a_header_is_none(self, connect, serve, body):
        server = serve(always(answer(body.encode(), "201 Created")))

        with pytest.raises(InvalidResponse):
            connect(server.base_url).authenticate()


class TestABusyService:
    """429 and 503 concern the whole service: no requests should be sent to it for `retry_after`."""

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
            ({"form": "date", "retry_after": 0}, 0),
            ({"form": "date", "retry_after": 120}, 120),
            ({"form": "date", "retry_after": 7200}, 3600),
            ({"form": "nonsense"}, 60),
        ],
    )
    def test_it_says_for_how_long(self, upstream, status, params, seconds):
        upstream.faults.replace([Fault("rate_limit", {"status": status, **params})])

        assert self.ask(upstream.base_url) == timedelta(seconds=seconds)

    @pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=300), timedelta(days=-300)])
    def test_a_date_counts_from_the_answers_own_date_whatever_our_clock_says(self, serve, ahead):
        sent_at = datetime.now(UTC) + ahead
        dates = (
            f"{name}: {format_datetime(at, usegmt=True)}"
            for name, at in (("Date", sent_at), ("Retry-After", sent_at + timedelta(minutes=2)))
        )
        server = serve(always(answer(b"", "503 Service Unavailable", *dates)))

        assert self.ask(server.base_url) == timedelta(minutes=2)

    @pytest.mark.parametrize("own", [[], ["Date: today"], ["Date: "]], ids=["none", "nonsense", "empty"])
    def test_a_date_counts_from_now_if_the_answer_does_not_say_when_it_is(self, serve, own):
        named = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
        server = serve(always(answer(b"", "503 Service Unavailable", *own, f"Retry-After: {named}")))

        assert timedelta(minutes=9) < self.ask(server.base_url) <= timedelta(minutes=10)

    def test_one_that_does_not_say_is_left_alone_for_a_minute(self, serve):
        server = serve(always(answer(b"", "503 Service Unavailable")))

        assert self.ask(server.base_url) == timedelta(seconds=60)

    @pytest.mark.parametrize("form", ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"], ids=["RFC 850", "asctime"])
    def test_the_two_old_forms_of_a_date_are_understood(self, serve, form):
        named = datetime.now(UTC) + timedelta(minutes=10)
        server = serve(always(answer(b"", "429 Too Many Requests", f"Retry-After: {named:{form}}")))

        assert timedelta(minutes=9) < self.ask(server.base_url) <= timedelta(minutes=10)

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

            @settings(max_examples=examples(100), deadline=None)
            @given(printable | digits | st.datetimes().map(lambda time: format_datetime(time.replace(tzinfo=UTC))))
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
