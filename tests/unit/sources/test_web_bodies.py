"""A body is read to its end or to an error, decompressed, in constant memory, and to no more than its bound."""

import gzip
import tracemalloc
import zlib
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.transport import DirectExchange
from productagg.sources.web import WebError
from productagg.sources.web.response import Response
from tests.scripted_server import RESET, always, answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
FEED = b"".join(b"%d;%d,90\n" % (line, line * 7) for line in range(20_000))


def gzipped(data, *headers):
    return answer(data, "200 OK", "Content-Encoding: gzip", *headers)


def read(web, url, *sizes, max_bytes=1_000_000):
    with web.get(url, max_bytes=max_bytes) as response:
        return [response.read(size) for size in sizes or [-1]]


def fails(web, url, code, max_bytes=1_000_000, size=-1):
    with web.get(url, max_bytes=max_bytes) as response, pytest.raises(WebError) as raised:
        while response.read(size):
            pass
    assert raised.value.code == code


def chunks(data, size):
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


WHOLE = {
    "with a length": [answer(FEED)],
    "chunked": [CHUNKED + chunks(FEED, 1000)],
    "until the connection ends": [UNTIL_CLOSE + FEED, None],
    "gzip": [gzipped(gzip.compress(FEED))],
    "x-gzip": [answer(gzip.compress(FEED), "200 OK", "Content-Encoding: X-GZip")],
    "gzip, chunked": [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks(gzip.compress(FEED), 997)
    ],
    "gzip of several members": [gzipped(gzip.compress(FEED[:1000]) + gzip.compress(b"") + gzip.compress(FEED[1000:]))],
    "identity": [answer(FEED, "200 OK", "Content-Encoding: identity")],
}
BROKEN_OFF = {
    "with a length": [answer(FEED)[:-1], None],
    "chunked": [CHUNKED + chunks(FEED, 1000)[:-7], None],
    "chunked, before the last": [CHUNKED + chunks(FEED, 1000)[:-5], None],
    "by a reset": [answer(FEED)[:1000], RESET],
    "gzip without its end": [gzipped(gzip.compress(FEED)[:-1])],
    "gzip in the middle": [gzipped(gzip.compress(FEED)[:5000])],
    "gzip in its head": [gzipped(gzip.compress(FEED)[:5])],
    "gzip in its second member": [gzipped(gzip.compress(FEED) + gzip.compress(b"more")[:12])],
    "gzip until the connection ends": [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(FEED)[:-9],
        None,
    ],
}


@pytest.mark.parametrize("pieces", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("size", [-1, 7919, 1_000_000])
def test_a_whole_body_is_read(internet, web, serve, pieces, size):
    with web.get(internet.shop(serve(always(*pieces))), max_bytes=1_000_000) as response:
        body = b""
        while piece := response.read(size):
            assert size < 0 or len(piece) <= size
            body += piece
        assert body == FEED
        assert response.read(size) == b""


@pytest.mark.parametrize("pieces", BROKEN_OFF.values(), ids=BROKEN_OFF)
@pytest.mark.parametrize("size", [-1, 7919])
def test_a_body_that_breaks_off_is_an_error(internet, web, serve, pieces, size):
    fails(web, internet.shop(serve(always(*pieces))), "no_answer", size=size)


@pytest.mark.parametrize("pieces", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_after_an_error_the_body_does_not_seem_to_be_at_its_end(internet, web, serve, pieces):
    with web.get(internet.shop(serve(always(*pieces))), max_bytes=1_000_000) as response:
        for _ in range(3):
            with pytest.raises(WebError):
                response.read()


def test_after_it_is_closed_the_body_does_not_seem_to_be_at_its_end(internet, web, serve):
    with web.get(internet.shop(serve(always(answer(FEED)))), max_bytes=1_000_000) as response:
        pass
    with pytest.raises(WebError):
        response.read()


@pytest.mark.parametrize(
    "body", [b"plain text", gzip.compress(FEED)[:500] + b"x" * 500, gzip.compress(FEED) + b"more", b"\x1f\x8b"]
)
def test_what_is_not_gzip_though_it_says_so_is_an_error(internet, web, serve, body):
    url = internet.shop(serve(always(gzipped(body))))

    with pytest.raises(WebError), web.get(url, max_bytes=1_000_000) as response:
        response.read()


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "unheard-of"])
def test_an_encoding_that_was_not_asked_for_is_an_error(internet, web, serve, encoding):
    url = internet.shop(serve(always(answer(b"x", "200 OK", f"Content-Encoding: {encoding}"))))

    with pytest.raises(WebError) as raised:
        web.get(url, max_bytes=100)
    assert raised.value.code == "bad_encoding"


def test_an_empty_body_is_empty_however_it_is_encoded(internet, web, serve):
    assert read(web, internet.shop(serve(always(gzipped(b"")))), -1, 10) == [b"", b""]


def test_a_size_of_zero_is_no_end(internet, web, serve):
    assert read(web, internet.shop(serve(always(answer(b"abc")))), 0, 2, 0, 2, 2) == [b"", b"ab", b"", b"c", b""]


FORMS = {
    "with a length": lambda data: [answer(data)],
    "chunked": lambda data: [CHUNKED + chunks(data, 5000)],
    "until the connection ends": lambda data: [UNTIL_CLOSE + data, None],
    "gzip": lambda data: [gzipped(gzip.compress(data))],
}


class TestTheBound:
    LARGEST = 100_000

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    @pytest.mark.parametrize("size", [-1, 999, 65536])
    def test_a_body_of_the_largest_size_is_read(self, internet, web, serve, form, size):
        with web.get(internet.shop(serve(always(*form(bytes(self.LARGEST))))), max_bytes=self.LARGEST) as response:
            assert sum(map(len, iter(lambda: response.read(size), b""))) == self.LARGEST

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    @pytest.mark.parametrize("size", [-1, 999, 65536])
    def test_one_byte_more_is_an_error(self, internet, web, serve, form, size):
        url = internet.shop(serve(always(*form(bytes(self.LARGEST + 1)))))

        fails(web, url, "too_large", self.LARGEST, size)

    @pytest.mark.parametrize("size", [-1, 65536, 1_000_000_000])
    @pytest.mark.parametrize(
        "pieces",
        [
            [gzipped(gzip.compress(bytes(30_000_000)))],
            [answer(bytes(30_000_000))],
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + bytes(30_000_000), None],
        ],
        ids=["a gzip bomb", "a body without end", "a chunk of a negative length"],
    )
    def test_a_flood_takes_no_memory(self, internet, web, serve, pieces, size):
        url = internet.shop(serve(always(*pieces)))
        tracemalloc.start()
        try:
            with pytest.raises(WebError), web.get(url, max_bytes=1_000_000) as response:
                while response.read(size):
                    pass
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
        finally:
            tracemalloc.stop()

    def test_a_large_body_is_streamed_in_constant_memory(self, internet, web, serve):
        pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n", *[bytes(100_000)] * 500]
        url = internet.shop(serve(always(*pieces)))
        with web.get(url, max_bytes=100_000_000) as response:
            tracemalloc.start()
            try:
                assert sum(map(len, iter(lambda: response.read(65536), b""))) == 50_000_000
                assert tracemalloc.get_traced_memory()[1] < 1_000_000
            finally:
                tracemalloc.stop()


class Exchange:
    """A response 200 in memory, whose body arrives in pieces of `piece` bytes."""

    status = 200

    def __init__(self, body, piece, **headers):
        self.headers = headers
        self.body, self.piece = body, piece

    def read(self, size):
        size = min(size, self.piece)
        data, self.body = self.body[:size], self.body[size:]
        return data

    def close(self):
        pass


def in_memory(body, piece, encoding):
    headers = {"Content-Encoding": encoding} if encoding else {}
    exchange = cast("DirectExchange", Exchange(body, piece, **headers))
    return Response("http://shop.test/", exchange, 10_000_000, lambda _: WebError("x", "x"))


@given(
    data=st.binary(max_size=5000),
    level=st.integers(0, 9),
    cut=st.integers(0, 5000),
    piece=st.integers(1, 300),
    size=st.integers(1, 300),
)
def test_a_compressed_body_is_read_in_any_pieces_or_is_an_error_where_it_is_cut(data, level, cut, piece, size):
    body = gzip.compress(data, level)
    response = in_memory(body, piece, "gzip")
    assert b"".join(iter(lambda: response.read(size), b"")) == data

    response = in_memory(body[: 1 + cut % (len(body) - 1)], piece, "gzip")
    with pytest.raises(WebError):
        list(iter(lambda: response.read(size), b""))


@given(body=st.binary(max_size=2000), prefix=st.sampled_from([b"", gzip.compress(b"x"), b"\x1f\x8b\x08"]))
def test_any_bytes_are_a_body_or_an_error(body, prefix):
    response = in_memory(prefix + body, 100, "gzip")
    try:
        response.read()
    except WebError:
        assert prefix + body != b""
    assert in_memory(prefix + body, 100, None).read() == prefix + body


def test_a_body_that_zlib_holds_back_at_the_end_is_not_lost():
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"a" * 100_000
    body = compressor.compress(data) + compressor.flush()
    response = in_memory(body, 65536, "gzip")

    assert b"".join(iter(lambda: response.read(10), b"")) == data
