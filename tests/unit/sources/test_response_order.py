"""Every answer is that of its own request: HTTP/1.1 ties them together by nothing but their order on the connection.

What comes before an answer, after it, or without a request must never be taken for the answer to another request.
"""

import threading
import time
from contextlib import suppress
from uuid import uuid4

import pytest

from productagg.sources.offers_service.errors import BadRefreshToken, InvalidResponse, Unavailable
from tests.scripted_server import CERTIFICATE, RESET, always, answer, price, priced

INTERIM = {
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nLink: </a.js>; rel=preload\r\n\r\n",
    "upload resumption": b"HTTP/1.1 104 Upload Resumption Supported\r\nLocation: /elsewhere\r\n\r\n",
    "unassigned": b"HTTP/1.1 199 Whatever\r\n\r\n",
    "no reason": b"HTTP/1.1 103\r\n\r\n",
    "a length": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 99\r\n\r\n",
    "chunked": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
    "close": b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n",
    "100 headers less one": b"HTTP/1.1 103 Early Hints\r\n" + b"A: b\r\n" * 99 + b"\r\n",
}
UNASKED = {
    "another answer": priced(666),
    "an interim answer": INTERIM["early hints"],
    "one byte": b"\n",
    "more than is read at once": b"x" * 100_000,
}


@pytest.fixture(params=[False, True], ids=["http", "https"])
def tls(request, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    return request.param


def ask(client):
    """The price that is offered for a product."""
    return price(client.offers("a-token", uuid4()))


class TestInterimAnswers:
    @pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
    def test_one_is_not_the_answer(self, serve, connect, tls, interim):
        prices = iter([1, 2, 3])
        server = serve(lambda _: [interim + priced(next(prices))], tls=tls)
        client = connect(server.base_url)

        assert [ask(client) for _ in range(3)] == [1, 2, 3]
        assert server.connections == 1

    def test_the_answer_may_be_long_in_coming_after_it(self, serve, connect):
        prices = iter([1, 2, 3])
        server = serve(lambda _: [INTERIM["early hints"], 0.05, priced(next(prices))])
        client = connect(server.base_url)

        assert [ask(client) for _ in range(3)] == [1, 2, 3]
        assert server.connections == 1

    def test_there_may_be_any_number_of_all_kinds(self, serve, connect):
        prices = iter([1, 2, 3])
        server = serve(lambda _: [b"".join(INTERIM.values()) * 50, priced(next(prices))])
        client = connect(server.base_url)

        assert [ask(client) for _ in range(3)] == [1, 2, 3]
        assert server.connections == 1

    @pytest.mark.parametrize("status", ["401 Unauthorized", "500 Internal Server Error"])
    def test_one_before_an_error_does_not_hide_it(self, serve, connect, status):
        server = serve(always(INTERIM["early hints"], answer(b"", status)))

        with pytest.raises(Exception, match=r"does not accept|500"):
            ask(connect(server.base_url))

    def test_one_before_a_token_and_a_registration(self, serve, connect):
        token = answer(b'{"access_token": "a-token"}', "201 Created")
        client = connect(serve(always(INTERIM["early hints"], token)).base_url)

        assert client.authenticate().value == "a-token"
        client.register("a-token", uuid4(), "Kettle", "Boils water")

    @pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
    def test_one_without_an_answer_is_no_answer(self, serve, connect, interim):
        server = serve(always(interim, None))

        with pytest.raises(Unavailable, match="closed connection without response"):
            ask(connect(server.base_url))

    def test_one_whose_head_has_no_end_is_refused(self, serve, connect):
        server = serve(always(b"HTTP/1.1 103 Early Hints\r\n" + b"A: b\r\n" * 101 + b"\r\n"))

        with pytest.raises(Unavailable, match="more than 100 headers"):
            ask(connect(server.base_url))

    @pytest.mark.parametrize("before", [b"", INTERIM["early hints"]], ids=["at once", "after another one"])
    @pytest.mark.parametrize("after", [b"", priced(666)], ids=["nothing", "something"])
    def test_switching_protocols_is_the_end_since_nobody_asked_for_that(self, serve, connect, before, after):
        switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n" + after
        server = serve(lambda request: [before + switching] if request.connection == 1 else [priced(2)])
        client = connect(server.base_url)

        with pytest.raises(InvalidResponse, match="answered 101"):
            ask(client)

        assert ask(client) == 2
        assert server.connections == 2


def chunked(price, trailers=b""):
    body = priced(price).partition(b"\r\n\r\n")[2]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)


def padded(price, size):
    """An answer of so many bytes altogether."""
    body = priced(price).partition(b"\r\n\r\n")[2]
    for spaces in range(size):
        whole = answer(body + b" " * spaces)
        if len(whole) == size:
            return whole
    raise AssertionError("no answer has this size")


class TestWhatFollowsAnAnswer:
    """It makes the connection unfit for the next request, wherever it is: read ahead, decrypted, or in the kernel."""

    @pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED)
    @pytest.mark.parametrize(
        "first",
        [
            priced(1),
            chunked(1),
            chunked(1, b"Trailer: one\r\nTrailer: two\r\n"),
            # As much as is read ahead at once: what follows stays in the kernel or, decrypted, in the TLS library.
            padded(1, 8192),
            padded(1, 16384),
        ],
        ids=["length", "chunks", "trailers", "8 KiB", "16 KiB"],
    )
    def test_in_the_same_packet(self, serve, connect, tls, first, unasked):
        server = serve(lambda request: [first + unasked] if request.connection == 1 else [priced(2)], tls=tls)
        client = connect(server.base_url)

        assert ask(client) == 1
        assert server.wait_until(lambda server: server.played == 1)

        assert ask(client) == 2
        assert server.connections == 2

    @pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED)
    def test_later_but_before_the_next_request(self, serve, connect, tls, unasked):
        answered = threading.Event()
        first = [priced(1), answered, unasked]
        server = serve(lambda request: first if request.connection == 1 else [priced(2)], tls=tls)
        client = connect(server.base_url)

        assert ask(client) == 1
        answered.set()
        assert server.wait_until(lambda server: server.played == 1)

        assert ask(client) == 2
        assert server.connections == 2

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\n\r\n",
        ],
        ids=["length too short", "204 with a body", "304 with a body"],
    )
    def test_the_rest_of_a_body_that_is_longer_than_the_head_says(self, serve, connect, head):
        server = serve(lambda request: [head + b"[]" + priced(666)] if request.connection == 1 else [priced(2)])
        client = connect(server.base_url)

        with suppress(InvalidResponse):
            assert client.offers("a-token", uuid4()) == {}

        assert ask(client) == 2
        assert server.connections == 2

    def test_an_answer_to_auth_is_never_one_that_came_before(self, serve, connect):
        token = answer(b'{"access_token": "fresh"}', "201 Created")
        stale = answer(b'{"access_token": "stale"}', "201 Created")
        server = serve(lambda request: [priced(1) + stale] if request.method == "GET" else [token])
        client = connect(server.base_url)

        assert ask(client) == 1
        assert client.authenticate().value == "fresh"


class TestAConnectionThatTheServerEnds:
    @pytest.mark.parametrize(
        "first",
        [
            priced(1).replace(b"HTTP/1.1", b"HTTP/1.0"),
            priced(1).replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
            priced(1).replace(b"\r\n", b"\r\nConnection: Close, X-Other\r\n", 1),
            chunked(1).replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
        ],
        ids=["HTTP/1.0", "close", "close among others", "close, chunked"],
    )
    def test_is_not_used_again_even_if_it_stays_open(self, serve, connect, first):
        server = serve(lambda request: [first] if request.connection == 1 else [priced(2)])
        client = connect(server.base_url)

        assert (ask(client), ask(client)) == (1, 2)
        assert server.connections == 2

    def test_is_used_again_if_an_old_server_says_that_it_keeps_it(self, serve, connect):
        kept = priced(1).replace(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK\r\nConnection: keep-alive")
        server = serve(always(kept))
        client = connect(server.base_url)

        assert (ask(client), ask(client)) == (1, 1)
        assert server.connections == 1

    @pytest.mark.parametrize("end", [None, RESET], ids=["closed", "reset"])
    def test_is_not_used_again_if_it_ended_after_the_answer(self, serve, connect, tls, end):
        answered = threading.Event()
        server = serve(lambda request: [priced(1), answered, end] if request.connection == 1 else [priced(2)], tls=tls)
        client = connect(server.base_url)
        assert ask(client) == 1
        answered.set()
        assert server.wait_until(lambda server: server.open == 0)

        assert ask(client) == 2
        assert len(server.requests) == 2

    @pytest.mark.parametrize("cut", [priced(1)[:-9], chunked(1)[:-12]], ids=["length", "chunks"])
    def test_is_not_used_again_if_it_ended_before_the_end_of_the_answer(self, serve, connect, cut):
        server = serve(lambda request: [cut, None] if request.connection == 1 else [priced(2)])
        client = connect(server.base_url)

        with pytest.raises(Unavailable):
            ask(client)

        assert ask(client) == 2
        assert len(server.requests) == 2


def register(client):
    client.register("a-token", uuid4(), "Kettle", "Boils water")


class TestAKeptConnectionThatIsJustBeingClosed:
    """The request crosses the end of the connection on its way. It is sent once more if that does no harm."""

    @pytest.fixture(params=[None, RESET], ids=["closed", "reset"])
    def end(self, request):
        return request.param

    @pytest.mark.parametrize("again", [ask, register], ids=["offers", "register"])
    def test_a_request_that_may_be_repeated_is_sent_once_more_on_a_new_one(self, serve, connect, tls, end, again):
        def script(request):
            if request.position == 2:
                return [end]
            return [priced(1)] if request.method == "GET" else [answer(b"{}", "201 Created")]

        server = serve(script, tls=tls)
        client = connect(server.base_url)
        ask(client)

        again(client)

        first, lost, repeated = server.requests
        assert (first.connection, lost.connection, repeated.connection) == (1, 1, 2)
        assert lost[:4] == repeated[:4]
        assert client.traffic.requests == 3

    def test_an_answer_that_no_request_came_in_time_was_none_to_this_one(self, serve, connect):
        late = answer(b"", "408 Request Timeout", "Connection: close")
        server = serve(lambda request: [late, None] if request.position == 2 else [priced(request.connection)])
        client = connect(server.base_url)

        assert [ask(client) for _ in range(3)] == [1, 2, 3]
        assert [(request.connection, request.position) for request in server.requests] == [
            (1, 1),
            (1, 2),
            (2, 1),
            (2, 2),
            (3, 1),
        ]

    def test_that_answer_on_a_new_connection_is_an_invalid_one(self, serve, connect):
        server = serve(always(answer(b"", "408 Request Timeout")))

        with pytest.raises(InvalidResponse, match="answered 408"):
            ask(connect(server.base_url))

        assert len(server.requests) == 1

    def test_it_is_sent_no_third_time(self, serve, connect, end):
        server = serve(lambda request: [priced(1)] if request.position + request.connection == 2 else [end])
        client = connect(server.base_url)
        ask(client)

        with pytest.raises(Unavailable):
            ask(client)

        assert len(server.requests) == 3

    def test_on_a_new_connection_it_is_sent_once(self, serve, connect, end):
        server = serve(always(end))

        with pytest.raises(Unavailable):
            ask(connect(server.base_url))

        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "heard", [b"H", b"HTTP/1.1 200 OK\r\nContent-", INTERIM["continue"]], ids=["a byte", "half a head", "interim"]
    )
    def test_once_a_byte_of_the_answer_has_come_it_is_not_repeated(self, serve, connect, heard):
        server = serve(lambda request: [heard, None] if request.position == 2 else [priced(1)])
        client = connect(server.base_url)
        ask(client)

        with pytest.raises((Unavailable, InvalidResponse)):
            ask(client)

        assert len(server.requests) == 2

    def test_a_request_for_a_token_is_never_repeated_and_never_sent_on_a_kept_connection(self, serve, connect, end):
        server = serve(lambda request: [priced(1)] if request.method == "GET" else [end])
        client = connect(server.base_url)
        ask(client)

        with pytest.raises(Unavailable):
            client.authenticate()

        assert [(request.method, request.connection) for request in server.requests] == [("GET", 1), ("POST", 2)]

    def test_a_silent_one_is_waited_for_and_not_repeated(self, serve, connect):
        server = serve(lambda request: [9.0] if request.position == 2 else [priced(1)])
        client = connect(server.base_url, 0.2)
        ask(client)

        with pytest.raises(Unavailable, match="within"):
            ask(client)

        assert len(server.requests) == 2

    def test_both_attempts_share_one_deadline(self, serve, connect):
        answers = iter([[priced(1)], [0.4, None], [9.0]])
        server = serve(lambda _: next(answers))
        client = connect(server.base_url, 0.5)
        ask(client)
        began = time.monotonic()

        with pytest.raises(Unavailable, match="within"):
            ask(client)

        assert time.monotonic() - began < 0.85
        assert len(server.requests) == 3


def test_a_refusal_of_the_credential_is_told_from_an_interim_answer(serve, connect):
    server = serve(always(INTERIM["continue"] * 3, answer(b"{}", "401 Unauthorized")))

    with pytest.raises(BadRefreshToken):
        connect(server.base_url).authenticate()


class TestAProxy:
    @pytest.fixture
    def through_proxy(self, serve, connect, monkeypatch):
        def start(script):
            proxy = serve(script)
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            return proxy, connect("http://offers.invalid/api/v1")

        return start

    def test_its_interim_answers_are_skipped(self, through_proxy):
        proxy, client = through_proxy(lambda request: [INTERIM["early hints"], priced(request.position)])

        assert [ask(client) for _ in range(3)] == [1, 2, 3]
        assert proxy.connections == 1

    def test_its_kept_connection_that_is_just_being_closed_costs_no_answer(self, through_proxy):
        proxy, client = through_proxy(lambda request: [None] if request.position == 2 else [priced(request.connection)])

        assert [ask(client) for _ in range(3)] == [1, 2, 3]
        assert proxy.connections == 3
