"""What the answer to a request looks like that was sent again under its Idempotency-Key."""


def assert_replayed(answer, first):
    """The same answer, to the byte."""
    own = {"X-Request-ID", "Idempotency-Replayed"}
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert answer.status == first.status
    assert answer.body == first.body
    assert sorted(each for each in answer.headerlist if each[0] not in own) == sorted(
        each for each in first.headerlist if each[0] not in own
    )
    assert answer.headers["X-Request-ID"] != first.headers["X-Request-ID"]
