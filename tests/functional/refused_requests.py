"""Requests that the server refuses before the application sees them, with the error code of its answer."""

POST = b"POST /products HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BATCH = POST.replace(b"/products", b"/products/batch")
TOO_LARGE = 1024 * 1024 + 1
REFUSED = {
    "no request line": (b"NONSENSE\r\n\r\n", "malformed-request"),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "malformed-request"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", "malformed-request"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", "malformed-request"),
    "a bare line feed in a header": (b"GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n", "malformed-request"),
    "a length that is no number": (POST + b"Content-Length: x\r\n\r\n", "malformed-request"),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "malformed-request"),
    "a chunk that is none": (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "malformed-request"),
    "large headers": (b"GET / HTTP/1.1\r\nX: " + b"x" * 270_000 + b"\r\n\r\n", "headers-too-large"),
    "a long path": (b"GET /" + b"x" * 270_000 + b" HTTP/1.1\r\n\r\n", "headers-too-large"),
    "a large body": (POST + b"Content-Length: %d\r\n\r\n" % TOO_LARGE, "body-too-large"),
    "a large batch of who has no token": (BATCH + b"Content-Length: %d\r\n\r\n" % TOO_LARGE, "body-too-large"),
    "a batch that is too large": (
        BATCH + b"Authorization: Bearer x\r\nContent-Length: %d\r\n\r\n" % (42 * TOO_LARGE),
        "body-too-large",
    ),
    "a large body in chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % TOO_LARGE + b" " * TOO_LARGE + b"\r\n0\r\n\r\n",
        "body-too-large",
    ),
    "an encoding that it does not know": (POST + b"Transfer-Encoding: gzip\r\n\r\n", "not-implemented"),
}
