"""The answer to a request that is sent again under its Idempotency-Key."""


def assert_replayed(answer, first):
    """`answer` is the stored copy of `first`, to the byte."""
    own = {"X-Request-ID", "Idempotency-Replayed"}
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert answer.status == first.status
    assert answer.body == first.body
    assert sorted(header for header in answer.headerlist if header[0] not in own) == sorted(
        header for header in first.headerlist if header[0] not in own
    )
    assert answer.headers["X-Request-ID"] != first.headers["X-Request-ID"]
