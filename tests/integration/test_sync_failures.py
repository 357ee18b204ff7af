"""Whatever goes wrong with the Offers service: the stored offers stay, the reason is recorded, the sync tries again.

Every case is a run against a real socket. tests/unit/sources tests single exchanges with the same responses.
"""

import json
import socket
import time
import tracemalloc
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from productagg.db.models import SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.sandbox.bad_bodies import MALFORMED
from productagg.settings import Settings
from productagg.sources.offers_service.client import MAX_BODY_BYTES
from productagg.sync.run import Synchronizer
from productagg.sync.tokens import account_key
from tests.conftest import REFRESH_TOKEN, ini
from tests.databases import only_sqlite
from tests.factories import make_due, rows, states, sync_row
from tests.integration.offer_history import make_synced, recorded, stored
from tests.scripted_server import ScriptedServer, always, answer

MINUTE = timedelta(minutes=1)
FRESH = states((90, 4), (210, 1))
FRESH_BODY = json.dumps([{"id": str(id_), "price": price, "items_in_stock": n} for id_, (price, n) in FRESH.items()])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(FRESH_BODY), FRESH_BODY.encode())


@pytest.fixture
def product_ids(database, upstream, synchronizer):
    """Three products with offers from an earlier run; they are due, and `FRESH` is now offered for all of them."""
    return make_synced(database, upstream, synchronizer.run, 3, states((100, 5), (200, 3)), FRESH)


@pytest.fixture
def serve():
    """Call it with a script for a server that follows it: see ScriptedServer."""
    servers = []

    def start(script):
        servers.append(ScriptedServer(script).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def run_at(database, upstream):
    """Make one run with one worker, over a service at this base URL."""

    def run(base_url, **options):
        options = {"sync.workers": "1", "offers.timeout_seconds": "0.3", "offers.base_url": base_url} | options
        with Synchronizer(Settings.load(ini(database, upstream, **options), environ={}), database.sessions) as made:
            return made.run()

    return run


def give_token(database, base_url):
    """Store an access token for the service at this base URL."""
    account = account_key(base_url, REFRESH_TOKEN)
    with database.sessions.begin() as session:
        session.add(UpstreamToken(account=account, access_token="a-token", expires_at=datetime.now(UTC) + 5 * MINUTE))


def is_tried_again_soon(row, result):
    """Whether the product is free, and due at once or within an interval."""
    return row.leased_until is None and result.started_at <= row.next_sync_at <= result.finished_at + MINUTE


# --- One product's failure ---


def sandbox(kind, **params):
    """The sandbox does this to the first product that is asked for."""

    def bring_about(upstream, _serve, _unlucky):
        upstream.faults.replace([Fault(kind, params, ("offers",), times=1)])
        return upstream.base_url

    return bring_about


def says(*pieces):
    """A server sends these bytes for the unlucky product; see ScriptedServer."""

    def bring_about(_upstream, serve, unlucky):
        def script(request):
            if request.target.endswith("/auth"):
                return [answer(b'{"access_token": "a-token"}', "201 Created")]
            return pieces if str(unlucky) in request.target else [answer(FRESH_BODY.encode())]

        return serve(script).base_url

    return bring_about


BAD_ANSWERS = {
    "500": (sandbox("error", status=500), "answered 500"),
    "502": (sandbox("error", status=502), "answered 502"),
    "422": (says(answer(b"{}", "422 Unprocessable Entity")), "422"),
    "reset": (sandbox("reset"), "no complete response"),
    "closed without a word": (says(None), "no complete response"),
    "cut": (sandbox("truncated"), "IncompleteRead"),
    "cut in a chunk": (sandbox("truncated_chunked"), "no complete response"),
    "cut between two chunks": (says(CHUNK, None), "no complete response"),
    "length too long, then closed": (says(HEAD % 1000, FRESH_BODY.encode(), None), "IncompleteRead"),
    "length too short": (says(HEAD % 20, FRESH_BODY.encode()), "not JSON"),
    "length negative": (says(HEAD % -1, FRESH_BODY.encode()[:-9], None), "not JSON"),
    "two lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 99\r\n\r\n[]"), "Content-Length"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n", None), "BadStatusLine"),
    "100 MB": (sandbox("oversized", bytes=100_000_000), "larger than"),
    "100 MB unannounced": (sandbox("oversized", bytes=100_000_000, declared=False), "larger than"),
    "decompression bomb": (sandbox("gzip_bomb", bytes=10_000_000), "larger than"),
    "says gzip and is not": (
        says(answer(FRESH_BODY.encode(), "200 OK", "Content-Encoding: gzip")),
        "no complete response",
    ),
    **{f"JSON {form}": (sandbox("malformed", form=form), "not JSON") for form in MALFORMED},
    "an object for the list": (sandbox("wrong_types", form="object_for_list"), "not a list but an object"),
    "null for the list": (says(answer(b"null")), "not a list but missing or null"),
    "no id": (sandbox("wrong_types", form="id_missing"), "no id that is a UUID"),
    "duplicate ids": (sandbox("wrong_types", form="duplicate_ids"), "same id as another one"),
    "price text": (sandbox("wrong_types", form="price_text"), "price is not an integer but a string"),
    "price float": (sandbox("wrong_types", form="price_float"), "price is not an integer but a number"),
    "price NaN": (sandbox("wrong_types", form="price_nan"), "not JSON"),
    "price negative": (sandbox("wrong_types", form="price_negative"), "price is out of range"),
    "price above 2^63": (sandbox("wrong_types", form="price_huge"), "price is out of range"),
    "stock above 2^63": (sandbox("wrong_types", form="stock_huge"), "items_in_stock is out of range"),
}
TOO_SLOW = {
    "too late": sandbox("latency", seconds=2),
    "dripping": sandbox("dripping", drip_seconds=0.02),
    "dripping from the first byte": sandbox("dripping", drip_seconds=0.02, part="all"),
    "length too long, then silence": says(HEAD % 1000, FRESH_BODY.encode(), 9.0),
}
# One of each kind; tests/unit/sources has more of them.
USUAL = {
    "500",
    "422",
    "reset",
    "cut",
    "cut between two chunks",
    "length too short",
    "no HTTP",
    "100 MB unannounced",
    "decompression bomb",
    "JSON html",
    "an object for the list",
    "duplicate ids",
    "price above 2^63",
}
CASES = [
    *(
        pytest.param(*case, "5", id=name, marks=() if name in USUAL else pytest.mark.slow)
        for name, case in BAD_ANSWERS.items()
    ),
    *(pytest.param(case, "no complete response within 0.3 s", "0.3", id=name) for name, case in TOO_SLOW.items()),
]


@only_sqlite  # the cases differ in HTTP only
@pytest.mark.parametrize(("bring_about", "reason", "timeout"), CASES)
def test_a_bad_answer_fails_its_product_alone_and_touches_none_of_its_offers(
    database, upstream, synchronizer, product_ids, serve, run_at, bring_about, reason, timeout
):
    unlucky, *others = product_ids
    before = recorded(database, unlucky)

    result = run_at(bring_about(upstream, serve, unlucky), **{"offers.timeout_seconds": timeout})

    row = sync_row(database, unlucky)
    assert recorded(database, unlucky) == before
    assert reason in row.last_error
    assert (row.failures, row.registration) == (1, "registered")
    assert is_tried_again_soon(row, result)
    assert [stored(database, product_id) for product_id in others] == [FRESH, FRESH]
    assert (result.failed, result.exit_code, result.ended_by) == (1, 1, "done")

    # And as soon as there is a good answer, it counts
    make_due(database)
    assert synchronizer.run().exit_code == 0
    row = sync_row(database, unlucky)
    assert (stored(database, unlucky), row.failures, row.last_error) == (FRESH, 0, None)


@only_sqlite
def test_the_deadline_of_an_exchange_holds_against_a_byte_a_second(database, upstream, product_ids, run_at):
    # Given a server that is never silent for as long as the time-out
    upstream.faults.replace([Fault("dripping", {"drip_seconds": 1}, ("offers",), times=1)])
    before = recorded(database, product_ids[0])
    began = time.monotonic()

    assert run_at(upstream.base_url, **{"offers.timeout_seconds": "1.5"}).exit_code == 1

    assert 1.5 <= time.monotonic() - began < 3.5
    assert "no complete response within 1.5 s" in sync_row(database, product_ids[0]).last_error
    assert recorded(database, product_ids[0]) == before


@only_sqlite
@pytest.mark.parametrize("kind", ["oversized", "gzip_bomb"])
def test_a_run_takes_no_more_memory_than_its_workers_may_read(database, upstream, product_ids, run_at, kind):
    # Given 100 MB for every request at once; the sandbox keeps none of it in memory
    upstream.faults.replace([Fault(kind, {"bytes": 100_000_000}, ("offers",))])
    tracemalloc.start()
    try:
        result = run_at(upstream.base_url, **{"sync.workers": "3", "offers.timeout_seconds": "20"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert result.failed == 3
    assert ["larger than" in sync_row(database, product_id).last_error for product_id in product_ids] == [True] * 3
    assert peak < (3 + 2) * MAX_BODY_BYTES


# --- Unreachable ---


@contextmanager
def refusing():
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/api/v1"


@contextmanager
def unknown_host():
    yield "http://offers.invalid/api/v1"


@contextmanager
def never_connecting():
    """A listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        for caller in callers:
            caller.close()


@contextmanager
def never_answering():
    with ScriptedServer(always(60.0)) as server:
        yield server.base_url


UNREACHABLE = {
    "refused": (refusing, "ConnectionRefusedError"),
    "unknown host": (unknown_host, "gaierror"),
    "connect time-out": (never_connecting, "no complete response within 0.3 s"),
    "read time-out": (never_answering, "no complete response within 0.3 s"),
}
unreachable = pytest.mark.parametrize(("place", "reason"), UNREACHABLE.values(), ids=UNREACHABLE)


@only_sqlite
@unreachable
def test_a_service_that_cannot_be_reached_fails_every_product_with_the_reason(
    database, synchronizer, product_ids, run_at, place, reason
):
    before = [recorded(database, product_id) for product_id in product_ids]
    with place() as base_url:
        give_token(database, base_url)

        result = run_at(base_url)

    assert [recorded(database, product_id) for product_id in product_ids] == before
    table = [sync_row(database, product_id) for product_id in product_ids]
    assert [(row.failures, reason in row.last_error, is_tried_again_soon(row, result)) for row in table] == [
        (1, True, True)
    ] * 3
    assert (result.failed, result.exit_code) == (3, 1)

    # And as soon as it can be reached, the offers are those of today
    make_due(database)
    assert synchronizer.run().exit_code == 0
    assert [stored(database, product_id) for product_id in product_ids] == [FRESH] * 3


@only_sqlite
@unreachable
def test_a_service_that_cannot_be_reached_for_a_token_ends_the_run_and_is_no_products_failure(
    database, product_ids, run_at, place, reason
):
    before = [recorded(database, product_id) for product_id in product_ids]
    with place() as base_url:
        result = run_at(base_url)

    assert result.exit_code == 2
    assert rows(database, SyncRun)[-1].ended_by == result.ended_by
    assert reason in result.ended_by
    assert [recorded(database, product_id) for product_id in product_ids] == before
    table = [sync_row(database, product_id) for product_id in product_ids]
    assert [(row.failures, row.leased_until, row.next_sync_at <= result.started_at) for row in table] == [
        (0, None, True)
    ] * 3


# --- Too busy ---


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date")])
def test_a_busy_service_keeps_the_offers_and_says_until_when(
    database, upstream, one_by_one, product_ids, clock, status, form
):
    before = [recorded(database, product_id) for product_id in product_ids]
    limit = {"status": status, "retry_after": 120, "form": form}
    upstream.faults.replace([Fault("rate_limit", limit, ("offers",), times=1)])

    result = one_by_one.run()

    reason = f"answered {status}"
    assert reason in rows(database, SyncRun)[-1].ended_by
    assert [recorded(database, product_id) for product_id in product_ids] == before
    (token,) = rows(database, UpstreamToken)
    assert reason in token.blocked_reason
    assert abs(token.blocked_until - result.started_at - 2 * MINUTE) < timedelta(seconds=3)
    asked, *not_asked = (sync_row(database, product_id) for product_id in product_ids)
    assert reason in asked.last_error
    assert {row.next_sync_at <= result.started_at for row in not_asked} == {True}
    clock.shift(181)
    assert one_by_one.run().exit_code == 0
    assert [stored(database, product_id) for product_id in product_ids] == [FRESH] * 3


# --- Redirects ---


@only_sqlite
@pytest.mark.parametrize("endpoint", ["auth", "register", "offers"])
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_host_is_not_followed_and_no_token_goes_there(
    database, upstream, one_by_one, product_ids, serve, status, endpoint
):
    other = serve(always(answer(FRESH_BODY.encode())))
    before = recorded(database, product_ids[0])
    if endpoint == "auth":
        upstream.service.end_token()
    if endpoint == "register":
        upstream.service.forget_products()
    location = f"http://localhost:{other.port}/api/v1/products/{uuid4()}/offers"
    upstream.faults.replace([Fault("redirect", {"status": status, "location": location}, (endpoint,), times=1)])

    result = one_by_one.run()

    reason = result.ended_by if endpoint == "auth" else sync_row(database, product_ids[0]).last_error
    assert f"redirect ({status})" in reason
    assert other.connections == 0
    assert recorded(database, product_ids[0]) == before
