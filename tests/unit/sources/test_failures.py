"""Exchanges without a complete, valid response raise the right error, with a one-line reason, and harm no other."""

import gzip
import tracemalloc
from pathlib import Path
from uuid import uuid4

import pytest

from productagg.sandbox import Fault, Offer
from productagg.sources.offers_service.client import MAX_BODY_BYTES
from productagg.sources.offers_service.errors import Busy, InvalidResponse, Unavailable, UpstreamError
from tests.conftest import REFRESH_TOKEN
from tests.scripted_server import always, answer

OFFER_ID = uuid4()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("kind", "params", "error"),
    [
        ("error", {"status": 500}, Unavailable),
        ("rate_limit", {}, Busy),
        ("redirect", {}, InvalidResponse),
        ("refuse", {"seconds": 0.1}, Unavailable),
        ("truncated", {}, Unavailable),
        ("truncated_chunked", {}, Unavailable),
        ("oversized", {"declared": True}, InvalidResponse),
        ("oversized", {"declared": False}, InvalidResponse),
        ("gzip_bomb", {"bytes": 50_000_000}, InvalidResponse),
        *(("malformed", {"form": form}, InvalidResponse) for form in ("cut", "empty", "html", "not_utf8", "deep")),
        *(
            ("wrong_types", {"form": form}, InvalidResponse)
            for form in ("price_text", "price_nan", "stock_huge", "id_missing", "object_for_list", "duplicate_ids")
        ),
    ],
)
def test_a_service_that_misbehaves_says_nothing_about_the_offers_and_the_next_answer_counts_again(
    client, token, product_id, upstream, kind, params, error
):
    upstream.service.set_offers(product_id, [Offer(OFFER_ID, 100, 5)])
    upstream.faults.replace([Fault(kind, params, times=1)])

    with pytest.raises(error) as raised:
        client.offers(token, product_id)

    assert raised.type is error
    upstream.server.reopen()
    assert client.offers(token, product_id) == {OFFER_ID: (100, 5)}


@pytest.mark.parametrize("form", ["token_missing", "token_number"])
def test_an_answer_to_auth_without_a_token_is_invalid(client, upstream, form):
    upstream.faults.replace([Fault("wrong_types", {"form": form})])

    with pytest.raises(InvalidResponse):
        client.authenticate()


class TestTheReason:
    """It names the innermost cause in one line, because operators read it in the product's row."""

    @pytest.mark.parametrize(
        ("base_url", "reason"),
        [
            ("http://127.0.0.1:9", "ConnectionRefusedError"),
            ("http://offers.invalid", "gaierror"),
            ("http://a..b", "'a..b' is not a host name"),
            ("http://" + "a" * 64, "is not a host name"),
            ("http://[::1", "Failed to parse"),
            ("http://127.0.0.1:99999", "Failed to parse"),
        ],
    )
    def test_a_host_that_cannot_be_reached(self, connect, base_url, reason):
        with pytest.raises(Unavailable, match=reason):
            connect(base_url).offers("a-token", uuid4())

    @pytest.mark.parametrize("proxy", ["ftp://proxy.test", "socks5://proxy.test", "http://[::1", "http://127.0.0.1:9"])
    def test_a_proxy_that_cannot_be_used(self, connect, monkeypatch, proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy)

        with pytest.raises(Unavailable, match="no complete response: "):
            connect("http://offers.invalid").offers("a-token", uuid4())

    def test_it_is_not_what_the_caller_was_dealing_with_before(self, connect):
        try:
            Path("/nowhere").read_text()
        except FileNotFoundError:
            with pytest.raises(Unavailable, match="ConnectionRefusedError"):
                connect("http://127.0.0.1:9").offers("a-token", uuid4())

    @pytest.mark.parametrize(
        ("pieces", "error", "reason"),
        [
            ([None], Unavailable, "closed connection without response"),
            ([b"HTTP/1.1 200 OK\r\nContent-Le", None], Unavailable, "closed connection without response"),
            ([b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n", None], Unavailable, "closed connection without response"),
            ([b"HTTP/1.1 200 OK\r\nA\r\nContent-Length: 2\r\n\r\n[]"], Unavailable, "not a header"),
            ([b"SSH-2.0-OpenSSH_9.2\r\n", None], Unavailable, "BadStatusLine"),
            ([b"HTTP/1.1 two hundred\r\n\r\n", None], Unavailable, "BadStatusLine"),
            ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n"], Unavailable, "more than 100 headers"),
            ([b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"], Unavailable, "LineTooLong"),
            ([b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n[]"], Unavailable, "Content-Length"),
            ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[]", None], Unavailable, "IncompleteRead"),
            ([CHUNKED + b"2\r\n[]\r\n", None], Unavailable, "ended"),
            ([CHUNKED + b"3\r\n[]", None], Unavailable, "IncompleteRead"),
            ([CHUNKED + b"no length\r\n"], Unavailable, "no length"),
            ([answer(b"[]", "200 OK", "Content-Encoding: gzip")], Unavailable, "gzip|decod|header"),
            ([answer(b"[1]", "200 OK", "Content-Encoding: unheard-of")], InvalidResponse, "offer 0"),
        ],
    )
    def test_an_answer_that_is_not_http(self, connect, serve, pieces, error, reason):
        with pytest.raises(error, match=reason):
            connect(serve(always(*pieces)).base_url).offers("a-token", uuid4())

    def test_it_is_short_and_has_nothing_that_a_log_or_a_database_chokes_on(self, connect, serve):
        server = serve(always(b"\x00\x1b[31mgarbage\r\x85" * 1000 + b"\r\n\r\n", None))

        with pytest.raises(Unavailable, match="garbage") as raised:
            connect(server.base_url).offers("a-token", uuid4())

        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 300

    @pytest.mark.parametrize(
        "script",
        [
            lambda request: [request.header("Bearer")[0].encode() + b"\r\n\r\n", None],
            lambda request: [CHUNKED + request.header("Bearer")[0].encode() + b"\r\n", None],
            lambda request: [answer(request.header("Bearer")[0].encode())],
            lambda request: [answer(b'[{"id": "%b"}]' % request.header("Bearer")[0].encode())],
            lambda request: [answer(b"", "302 Found", f"Location: http://{request.header('Bearer')[0]}/")],
            lambda request: [None],
            *(
                lambda request, status=status: [answer(request.header("Bearer")[0].encode(), f"{status} No")]
                for status in (400, 401, 404, 422, 429, 500)
            ),
        ],
    )
    def test_no_credential_is_in_it_even_if_the_server_sends_it_back(self, connect, serve, script):
        client = connect(serve(script).base_url)

        for ask in (lambda: client.offers("an-access-token", uuid4()), client.authenticate):
            with pytest.raises(UpstreamError) as raised:
                ask()
            shown = f"{raised.value} {raised.value!r} {client!r}"
            assert "an-access-token" not in shown
            assert REFRESH_TOKEN not in shown

    def test_an_access_token_does_not_show_itself(self, client):
        token = client.authenticate()

        assert token.value not in f"{token} {token!r}"


class TestSize:
    """However much the service sends, a client takes no more memory than a few answers of the largest size."""

    @pytest.fixture
    def peak(self):
        """Bytes allocated at most since the test began. What the sandbox allocates counts as well, but it streams."""
        tracemalloc.start()
        yield lambda: tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("oversized", {"declared": True}),
            Fault("oversized", {"declared": False}),
            Fault("gzip_bomb", {"bytes": 50_000_000}),
        ],
        ids=lambda fault: f"{fault.kind} {fault.params}",
    )
    def test_a_body_without_an_end_is_not_read_to_the_end(self, client, token, product_id, upstream, peak, fault):
        upstream.faults.replace([fault])

        with pytest.raises(InvalidResponse, match="larger than"):
            client.offers(token, product_id)

        assert peak() < 5 * MAX_BODY_BYTES

    def test_a_redirect_with_such_a_body_is_not_read_either(self, connect, serve, peak):
        bomb = gzip.compress(bytes(50_000_000))
        head = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n"
        server = serve(always(head.format(len(bomb)).encode() + bomb))
        tracemalloc.reset_peak()

        with pytest.raises(InvalidResponse):
            connect(server.base_url).offers("a-token", uuid4())

        assert peak() < 5 * MAX_BODY_BYTES

    def test_a_line_without_an_end_is_not_read_to_the_end(self, connect, serve, peak):
        line = b"0" * 65536
        server = serve(lambda _: (line for _ in range(2000)))

        with pytest.raises(Unavailable):
            connect(server.base_url).offers("a-token", uuid4())

        assert peak() < 5 * MAX_BODY_BYTES

    def test_a_chunk_of_a_negative_length_is_not_read_to_the_end(self, connect, serve, peak):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
        server = serve(lambda _: [head, *[b" " * 65536] * 1000, None])

        with pytest.raises(Unavailable, match="negative length"):
            connect(server.base_url).offers("a-token", uuid4())

        assert peak() < 5 * MAX_BODY_BYTES

    def test_the_largest_body_is_still_taken(self, connect, serve):
        largest = b"[" + b" " * (MAX_BODY_BYTES - 2) + b"]"
        assert connect(serve(always(answer(largest))).base_url).offers("a-token", uuid4()) == {}

        with pytest.raises(InvalidResponse, match="larger than"):
            connect(serve(always(answer(largest + b" "))).base_url).offers("a-token", uuid4())
