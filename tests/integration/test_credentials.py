"""The shared access token: one refresh for everybody, and what happens when it cannot be had."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from productagg.db.models import Base, ProductSync, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.sandbox.service import Response, endpoint_of
from productagg.sources.offers_service.client import OffersClient, StillValid
from productagg.sync.tokens import Issued, NoToken, TokenKeeper, account_key
from tests.conftest import REFRESH_TOKEN
from tests.factories import make_due, make_product, make_products, rows
from tests.integration.conftest import before_statement, only_postgresql, wait_until

ACCOUNT = "the account"


@pytest.fixture
def client(upstream):
    with OffersClient(upstream.base_url, REFRESH_TOKEN, 2) as client:
        yield client


@pytest.fixture
def make_keeper(database, client):
    """Make a keeper as another process would have one."""

    def ask():
        try:
            token = client.authenticate()
        except StillValid:
            return None
        return Issued(token.value, token.expires_at)

    return lambda ask=ask, patience=5.0: TokenKeeper(database.sessions, ACCOUNT, ask, patience)


@pytest.fixture
def keeper(make_keeper):
    return make_keeper()


def store(database, **values):
    with database.sessions.begin() as session:
        session.add(UpstreamToken(account=ACCOUNT, **values))


@pytest.mark.parametrize("keepers", [1, 8], ids=["one keeper", "a keeper each"])
def test_eight_threads_make_one_refresh_and_get_the_same_token(upstream, make_keeper, keepers):
    made = [make_keeper() for _ in range(keepers)]
    together = threading.Barrier(8)
    # Slow enough for all to find that there is none yet
    upstream.faults.replace([Fault("latency", {"seconds": 0.2}, ("auth",))])

    def get(number):
        together.wait(10)
        return made[number % keepers].get()

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(get, range(8)))

    assert len(tokens) == 1
    assert upstream.service.requests == {("auth", 201): 1}


def test_another_process_uses_the_stored_token(upstream, make_keeper):
    token = make_keeper().get()

    assert make_keeper().get() == token

    assert upstream.count("auth") == 1


def test_a_token_that_expired_is_replaced(upstream, keeper, clock):
    token = keeper.get()
    clock.shift(301)

    assert keeper.get() != token

    assert upstream.service.requests == {("auth", 201): 2}


def test_a_token_that_the_service_ended_early_is_replaced_once_for_all_workers(database, upstream, synchronizer):
    make_products(database, 20)
    assert synchronizer.run().exit_code == 0
    upstream.service.end_token()
    make_due(database)

    report = synchronizer.run()

    assert (report.asked, report.failed) == (20, 0)
    assert upstream.service.requests["auth", 201] == 2
    assert upstream.count("auth") == 2


def test_rejecting_an_old_token_does_not_take_the_new_one_away(upstream, make_keeper):
    keeper, other = make_keeper(), make_keeper()
    old = keeper.get()
    upstream.service.end_token()
    other.reject(old)
    new = other.get()

    keeper.reject(old)

    assert keeper.get() == new
    assert upstream.count("auth") == 2


def test_a_thread_that_comes_while_a_token_is_rejected_does_not_bring_it_back(database, upstream, keeper):
    rejected = keeper.get()
    upstream.service.end_token()

    def come(_statement):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(keeper.get).result()

    with before_statement(database.writer, "UPDATE upstream_tokens SET access_token", come):
        keeper.reject(rejected)

    assert keeper.get() != rejected


def test_a_lost_token_is_waited_for_without_asking_again_and_again(database, upstream, client, keeper, clock, caplog):
    # Given a token that nobody stored
    client.authenticate()

    with pytest.raises(NoToken, match="still valid, but none is stored"):
        keeper.get()
    assert "none is stored" in caplog.text

    # Asked again only after a while, however often somebody wants it
    for _ in range(3):
        with pytest.raises(NoToken, match="nothing is asked before"):
            keeper.get()
    assert upstream.service.requests["auth", 400] == 1
    clock.shift(16)
    with pytest.raises(NoToken):
        keeper.get()
    assert upstream.service.requests["auth", 400] == 2

    # And there is a new one as soon as the lost one has expired
    clock.shift(300)
    assert keeper.get()


def test_a_pass_without_a_token_to_be_had_ends_with_the_reason(database, upstream, client, synchronizer):
    make_products(database, 20)
    client.authenticate()

    report = synchronizer.run()

    assert report.exit_code == 2
    assert "none is stored" in report.ended_by
    assert upstream.service.requests["auth", 400] == 1
    assert {(row.leased_until, row.failures) for row in rows(database, ProductSync)} == {(None, 0)}


def test_a_token_that_we_hold_for_expired_and_the_service_does_not_is_used_on(upstream, keeper, clock):
    # Given a service whose clock is a minute behind ours
    upstream.service.clock = lambda: datetime.now(UTC).timestamp() - 60
    token = keeper.get()
    clock.shift(241)

    assert keeper.get() == keeper.get() == token
    assert upstream.service.requests == {("auth", 201): 1, ("auth", 400): 1}

    clock.shift(61)
    assert keeper.get() != token


def test_a_service_whose_clock_is_ahead_of_ours_ends_a_token_before_we_do(database, upstream, synchronizer, clock):
    upstream.service.clock = lambda: datetime.now(UTC).timestamp() + 60
    make_products(database, 3)
    synchronizer.run()
    clock.shift(301)

    report = synchronizer.run()

    assert (report.asked, report.failed) == (3, 0)
    assert upstream.service.requests["auth", 201] == 2


def test_a_refresher_that_died_is_waited_for_and_then_replaced(database, upstream, keeper):
    until = datetime.now(UTC) + timedelta(seconds=0.3)
    store(database, refreshing_until=until)

    assert keeper.get()

    assert datetime.now(UTC) >= until
    assert upstream.count("auth") == 1


def test_a_refresher_that_does_not_finish_is_not_waited_for_without_end(database, upstream, make_keeper):
    store(database, refreshing_until=datetime.now(UTC) + timedelta(minutes=5))

    with pytest.raises(NoToken, match="does not finish"):
        make_keeper(patience=0.2).get()

    assert upstream.count("auth") == 0


def test_what_another_process_fetches_meanwhile_is_taken_from_it(database, upstream, make_keeper):
    asked, answered = threading.Event(), threading.Event()

    def slow():
        asked.set()
        assert answered.wait(10)
        return Issued("the token", datetime.now(UTC) + timedelta(minutes=5))

    refresher, waiting = make_keeper(slow), make_keeper()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(refresher.get)
        assert asked.wait(10)
        second = pool.submit(waiting.get)
        answered.set()

        assert first.result(10) == second.result(10) == "the token"

    assert upstream.count("auth") == 0


@only_postgresql
def test_a_token_that_another_process_stores_at_the_last_moment_is_taken(database, upstream, keeper):
    now = datetime.now(UTC)
    store(database, access_token="old", expires_at=now)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    with ThreadPoolExecutor(1) as pool:
        with database.sessions.begin() as session, database.reader.connect() as connection:
            row = session.get_one(UpstreamToken, ACCOUNT, with_for_update=True)
            # By now it has seen the old one and wants to refresh it
            found = pool.submit(keeper.get)
            wait_until(lambda: connection.execute(waiting).scalar_one() == 1)
            row.access_token, row.expires_at = "new", now + timedelta(minutes=5)

        assert found.result(10) == "new"

    assert upstream.count("auth") == 0


def test_an_attempt_that_failed_leaves_the_refresh_to_whoever_comes_next(upstream, make_keeper):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_keeper(fail).get()

    assert make_keeper().get()


@pytest.mark.parametrize("fault", [Fault("error", {}, ("auth",)), Fault("reset", {"processed": False}, ("auth",))])
def test_a_pass_that_gets_no_token_asks_once_and_ends(database, upstream, synchronizer, fault):
    make_products(database, 20)
    upstream.faults.replace([fault])

    report = synchronizer.run()

    assert report.exit_code == 2
    assert report.ended_by.startswith("no access token: ")
    assert upstream.count("auth") == upstream.service.requests.total() == 1
    assert {(row.leased_until, row.failures) for row in rows(database, ProductSync)} == {(None, 0)}

    upstream.faults.clear()
    assert synchronizer.run().exit_code == 0


def test_a_refresh_token_that_is_not_accepted_ends_the_pass_with_the_reason(database, upstream, make_synchronizer):
    make_products(database, 20)

    report = make_synchronizer(**{"offers.refresh_token": "a wrong one"}).run()

    assert report.exit_code == 2
    assert "does not accept the refresh token" in report.ended_by
    assert upstream.service.requests == {("auth", 401): 1}
    (run,) = rows(database, SyncRun)
    assert run.ended_by == report.ended_by
    assert {row.leased_until for row in rows(database, ProductSync)} == {None}


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


def test_a_token_that_cannot_be_read_is_used_for_at_most_five_minutes(upstream, keeper, clock):
    upstream.answer_with = lambda request: (
        Response(201, {"access_token": "opaque"}) if endpoint_of(request.path) == "auth" else None
    )

    assert keeper.get() == "opaque"
    clock.shift(298)
    assert keeper.get() == "opaque"
    assert upstream.count("auth") == 1

    clock.shift(3)
    keeper.get()
    assert upstream.count("auth") == 2


def blocked(keeper):
    with keeper._sessions.begin() as session:
        return keeper.blocked(session)[1]


@pytest.mark.parametrize("order", [(120, 5), (5, 120)])
def test_of_several_times_to_wait_the_longest_counts(keeper, order):
    for seconds in order:
        keeper.block(timedelta(seconds=seconds), f"busy for {seconds} s")

    assert "busy for 120 s" in str(blocked(keeper))


def test_what_blocks_everybody_ends_by_itself(keeper, clock):
    keeper.block(timedelta(seconds=60), "busy")
    assert blocked(keeper) is not None

    clock.shift(61)

    assert blocked(keeper) is None


def test_a_refused_token_that_is_still_valid_over_there_ends_the_pass(database, upstream, one_by_one):
    make_product(database)
    upstream.answer_with = lambda request: (
        Response(401, {"detail": "Bad authentication"}) if endpoint_of(request.path) == "register" else None
    )

    report = one_by_one.run()

    assert report.exit_code == 2
    assert "none is stored" in report.ended_by
    assert upstream.count("register") == 1
