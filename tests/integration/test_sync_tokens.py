"""The shared access token: one refresh for all threads and processes, and what happens when no token can be had."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from productagg.db.models import Base, ProductSource, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.sandbox.service import Response, endpoint_of
from productagg.sources.offers_service.client import OffersClient
from productagg.sources.offers_service.errors import TokenStillValid
from productagg.sources.offers_service.parsing import AccessToken
from productagg.sync.tokens import NoAccessToken, SharedToken, account_key
from tests.conftest import REFRESH_TOKEN
from tests.databases import only_postgresql
from tests.factories import make_due, make_product, make_products, rows
from tests.integration.conftest import on_event, wait_until

ACCOUNT = "the account"


@pytest.fixture
def client(upstream):
    with OffersClient(upstream.base_url, REFRESH_TOKEN, 2) as client:
        yield client


@pytest.fixture
def make_shared_token(database, client):
    """Make one as another process would have it: `make_shared_token(request=…, patience=…)`."""

    def request_token():
        try:
            return client.authenticate()
        except TokenStillValid:
            return None

    return lambda request=request_token, patience=5.0: SharedToken(database.sessions, ACCOUNT, request, patience)


@pytest.fixture
def shared_token(make_shared_token):
    return make_shared_token()


def store(database, **values):
    with database.sessions.begin() as session:
        session.add(UpstreamToken(account=ACCOUNT, **values))


@pytest.mark.parametrize("instances", [1, 8], ids=["one instance", "eight instances"])
def test_eight_threads_make_one_refresh_and_get_the_same_token(upstream, make_shared_token, instances):
    made = [make_shared_token() for _ in range(instances)]
    together = threading.Barrier(8)
    # Slow enough for all to find that there is none yet
    upstream.faults.replace([Fault("latency", {"seconds": 0.2}, ("auth",))])

    def get(number):
        together.wait(10)
        return made[number % instances].get()

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(get, range(8)))

    assert len(tokens) == 1
    assert upstream.service.requests == {("auth", 201): 1}


def test_another_process_uses_the_stored_token(upstream, make_shared_token):
    token = make_shared_token().get()

    assert make_shared_token().get() == token

    assert upstream.count("auth") == 1


def test_a_token_that_expired_is_replaced(upstream, shared_token, clock):
    token = shared_token.get()
    clock.shift(301)

    assert shared_token.get() != token

    assert upstream.service.requests == {("auth", 201): 2}


def test_a_token_that_the_service_ended_early_is_replaced_once_for_all_workers(database, upstream, synchronizer):
    make_products(database, 20)
    assert synchronizer.run().exit_code == 0
    upstream.service.end_token()
    make_due(database)

    result = synchronizer.run()

    assert (result.asked, result.failed) == (20, 0)
    assert upstream.service.requests["auth", 201] == 2
    assert upstream.count("auth") == 2


def test_rejecting_an_old_token_does_not_take_the_new_one_away(upstream, make_shared_token):
    shared_token, other = make_shared_token(), make_shared_token()
    old = shared_token.get()
    upstream.service.end_token()
    other.reject(old)
    new = other.get()

    shared_token.reject(old)

    assert shared_token.get() == new
    assert upstream.count("auth") == 2


def test_a_thread_that_comes_while_a_token_is_rejected_does_not_bring_it_back(database, upstream, shared_token):
    rejected = shared_token.get()
    upstream.service.end_token()

    def get_in_another_thread(_connection):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(shared_token.get).result()

    with on_event(database.writer, "commit", get_in_another_thread):
        shared_token.reject(rejected)

    assert shared_token.get() != rejected


def test_a_lost_token_is_waited_for_without_repeated_requests(database, upstream, client, shared_token, clock, caplog):
    # Given a token that was never stored
    client.authenticate()

    with pytest.raises(NoAccessToken, match="still valid, but none is stored"):
        shared_token.get()
    assert "none is stored" in caplog.text

    # It is requested again only after a while, however often it is needed
    for _ in range(3):
        with pytest.raises(NoAccessToken, match="no requests are sent before"):
            shared_token.get()
    assert upstream.service.requests["auth", 400] == 1
    clock.shift(16)
    with pytest.raises(NoAccessToken):
        shared_token.get()
    assert upstream.service.requests["auth", 400] == 2

    # And there is a new one as soon as the lost one has expired
    clock.shift(300)
    assert shared_token.get()


def test_a_run_without_a_token_to_be_had_ends_with_the_reason(database, upstream, client, synchronizer):
    make_products(database, 20)
    client.authenticate()

    result = synchronizer.run()

    assert result.exit_code == 2
    assert "none is stored" in result.ended_by
    assert upstream.service.requests["auth", 400] == 1
    assert {(row.leased_until, row.failures) for row in rows(database, ProductSource)} == {(None, 0)}


def test_a_token_that_has_expired_for_us_and_not_for_the_service_is_used_on(upstream, shared_token, clock):
    # Given a service whose clock is a minute behind ours
    upstream.service.clock = lambda: datetime.now(UTC).timestamp() - 60
    token = shared_token.get()
    clock.shift(241)

    assert shared_token.get() == shared_token.get() == token
    assert upstream.service.requests == {("auth", 201): 1, ("auth", 400): 1}

    clock.shift(61)
    assert shared_token.get() != token


def test_a_service_whose_clock_is_ahead_of_ours_ends_a_token_before_we_do(database, upstream, synchronizer, clock):
    upstream.service.clock = lambda: datetime.now(UTC).timestamp() + 60
    make_products(database, 3)
    synchronizer.run()
    clock.shift(301)

    result = synchronizer.run()

    assert (result.asked, result.failed) == (3, 0)
    assert upstream.service.requests["auth", 201] == 2


def test_a_refresher_that_died_is_waited_for_and_then_replaced(database, upstream, shared_token):
    until = datetime.now(UTC) + timedelta(seconds=0.3)
    store(database, refreshing_until=until)

    assert shared_token.get()

    assert datetime.now(UTC) >= until
    assert upstream.count("auth") == 1


def test_a_refresher_that_does_not_finish_is_not_waited_for_without_end(database, upstream, make_shared_token):
    store(database, refreshing_until=datetime.now(UTC) + timedelta(minutes=5))

    with pytest.raises(NoAccessToken, match="does not finish"):
        make_shared_token(patience=0.2).get()

    assert upstream.count("auth") == 0


def test_a_token_that_another_process_fetches_meanwhile_is_used(database, upstream, make_shared_token):
    asked, answered = threading.Event(), threading.Event()

    def slow():
        asked.set()
        assert answered.wait(10)
        return AccessToken("the token", datetime.now(UTC) + timedelta(minutes=5))

    refresher, waiting = make_shared_token(slow), make_shared_token()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(refresher.get)
        assert asked.wait(10)
        second = pool.submit(waiting.get)
        answered.set()

        assert first.result(10) == second.result(10) == "the token"

    assert upstream.count("auth") == 0


@only_postgresql
def test_a_token_that_another_process_stores_at_the_last_moment_is_taken(database, upstream, shared_token):
    now = datetime.now(UTC)
    store(database, access_token="old", expires_at=now)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    with ThreadPoolExecutor(1) as pool:
        with database.sessions.begin() as session, database.reader.connect() as connection:
            row = session.get_one(UpstreamToken, ACCOUNT, with_for_update=True)
            # By now it has seen the old one and wants to refresh it
            found = pool.submit(shared_token.get)
            wait_until(lambda: connection.execute(waiting).scalar_one() == 1)
            row.access_token, row.expires_at = "new", now + timedelta(minutes=5)

        assert found.result(10) == "new"

    assert upstream.count("auth") == 0


def test_a_failed_refresh_leaves_the_refresh_to_the_next_caller(upstream, make_shared_token):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_shared_token(fail).get()

    assert make_shared_token().get()


@pytest.mark.parametrize("fault", [Fault("error", {}, ("auth",)), Fault("reset", {"processed": False}, ("auth",))])
def test_a_run_that_gets_no_token_asks_once_and_ends(database, upstream, synchronizer, fault):
    make_products(database, 20)
    upstream.faults.replace([fault])

    result = synchronizer.run()

    assert result.exit_code == 2
    assert result.ended_by.startswith("no access token: ")
    assert upstream.count("auth") == upstream.service.requests.total() == 1
    assert {(row.leased_until, row.failures) for row in rows(database, ProductSource)} == {(None, 0)}

    upstream.faults.clear()
    assert synchronizer.run().exit_code == 0


def test_a_refresh_token_that_is_not_accepted_ends_the_run_with_the_reason(database, upstream, make_synchronizer):
    make_products(database, 20)

    result = make_synchronizer(**{"offers.refresh_token": "a wrong one"}).run()

    assert result.exit_code == 2
    assert "does not accept the refresh token" in result.ended_by
    assert upstream.service.requests == {("auth", 401): 1}
    (run,) = rows(database, SyncRun)
    assert run.ended_by == result.ended_by
    assert {row.leased_until for row in rows(database, ProductSource)} == {None}


def test_the_refresh_token_is_neither_stored_nor_logged(database, upstream, synchronizer, caplog):
    caplog.set_level(logging.DEBUG)
    make_products(database, 5)
    for fault in (Fault("error"), Fault("malformed"), Fault("reset"), Fault("rate_limit", {"retry_after": 0})):
        for endpoint in ("auth", "offers"):
            upstream.faults.replace([replace(fault, endpoints=(endpoint,), times=1)])
            synchronizer.run()
            make_due(database)
            upstream.service.end_token()

    for table in Base.metadata.sorted_tables:
        with database.reader.connect() as connection:
            held = connection.execute(text(f"SELECT * FROM {table.name}")).all()
        assert REFRESH_TOKEN not in repr(held)
    assert rows(database, UpstreamToken)
    assert REFRESH_TOKEN not in caplog.text


def test_two_accounts_never_share_a_token():
    keys = {account_key(url, token) for url in ("http://a", "http://b") for token in ("one", "other")}

    assert len(keys) == 4


def test_a_token_that_cannot_be_read_is_used_for_at_most_five_minutes(upstream, shared_token, clock):
    upstream.answer_with = lambda request: (
        Response(201, {"access_token": "opaque"}) if endpoint_of(request.path) == "auth" else None
    )

    assert shared_token.get() == "opaque"
    clock.shift(298)
    assert shared_token.get() == "opaque"
    assert upstream.count("auth") == 1

    clock.shift(3)
    shared_token.get()
    assert upstream.count("auth") == 2


def blocked(database, shared_token):
    with database.sessions() as session:
        return shared_token.blocked(session)[1]


@pytest.mark.parametrize("order", [(120, 5), (5, 120)])
def test_of_several_times_to_wait_the_longest_counts(database, shared_token, order):
    for seconds in order:
        shared_token.block(timedelta(seconds=seconds), f"busy for {seconds} s")

    assert "busy for 120 s" in str(blocked(database, shared_token))


def test_a_block_ends_by_itself(database, shared_token, clock):
    shared_token.block(timedelta(seconds=60), "busy")
    assert blocked(database, shared_token) is not None

    clock.shift(61)

    assert blocked(database, shared_token) is None


def test_a_refused_token_that_is_still_valid_over_there_ends_the_run(database, upstream, one_by_one):
    make_product(database)
    upstream.answer_with = lambda request: (
        Response(401, {"detail": "Bad authentication"}) if endpoint_of(request.path) == "register" else None
    )

    result = one_by_one.run()

    assert result.exit_code == 2
    assert "none is stored" in result.ended_by
    assert upstream.count("register") == 1
