"""Runs that get no access token, or whose token ends: offers stay, the reason is recorded, one process refreshes."""

from datetime import timedelta

import pytest

from productagg.db.models import ProductSource, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.sandbox.service import Response, endpoint_of
from productagg.sources.offers_service.client import OffersClient
from tests.conftest import REFRESH_TOKEN
from tests.factories import environment, make_products, rows, states, sync_row
from tests.integration.offer_history import make_synced, offer_to_all, recorded, stored

FRESH = states((90, 4), (210, 1))


def lost_token(upstream):
    # A process fetched it and died.
    with OffersClient(upstream.base_url, REFRESH_TOKEN, 2) as client:
        client.authenticate()


def bad_refresh_token(upstream):
    upstream.answer_with = lambda request: Response(401, {}) if endpoint_of(request.path) == "auth" else None


def at_auth(kind, **params):
    return lambda upstream: upstream.faults.replace([Fault(kind, params, ("auth",), times=1)])


# What happens, the reason, and for how many seconds no requests are sent then.
NO_TOKEN = {
    "400": (lost_token, "none is stored", 15),
    "401": (bad_refresh_token, "does not accept the refresh token", 0),
    "429, seconds": (at_auth("rate_limit", status=429, retry_after=120), "answered 429", 120),
    "429, date": (at_auth("rate_limit", status=429, retry_after=120, form="date"), "answered 429", 120),
    "503, seconds": (at_auth("rate_limit", status=503, retry_after=120), "answered 503", 120),
    "503, date": (at_auth("rate_limit", status=503, retry_after=120, form="date"), "answered 503", 120),
    "500": (at_auth("error", status=500), "answered 500", 0),
    "cut": (at_auth("truncated"), "no complete response", 0),
    "no JSON": (at_auth("malformed", form="html"), "not JSON", 0),
    "no token in it": (at_auth("wrong_types", form="token_missing"), "no usable access_token", 0),
    "redirect": (at_auth("redirect"), "redirect", 0),
}


# What the answers to a token's request have in common is stored on both databases.
CASES = [
    pytest.param(database, *case, id=f"{name}, {database}")
    for name, case in NO_TOKEN.items()
    for database in ("sqlite", "postgresql")
    if database == "sqlite" or name in ("400", "401", "429, seconds", "500")
]


@pytest.mark.parametrize(("migrated_database", "bring_about", "reason", "wait"), CASES, indirect=["migrated_database"])
def test_without_a_token_offers_stay_and_the_reason_and_the_end_of_the_wait_are_recorded(
    database, upstream, one_by_one, clock, bring_about, reason, wait
):
    # Given a service that accepts the stored token no more
    product_ids = make_synced(database, upstream, one_by_one.run, 3, states((100, 5), (200, 3)), FRESH)
    before = [recorded(database, product_id) for product_id in product_ids]
    upstream.service.end_token()
    bring_about(upstream)

    result = one_by_one.run()

    assert reason in result.ended_by
    assert rows(database, SyncRun)[-1].ended_by == result.ended_by
    assert [recorded(database, product_id) for product_id in product_ids] == before
    table = [sync_row(database, product_id) for product_id in product_ids]
    assert [(row.failures, row.leased_until, row.next_sync_at <= result.started_at) for row in table] == [
        (0, None, True)
    ] * 3
    (token,) = rows(database, UpstreamToken)
    if wait:
        assert reason in token.blocked_reason
        assert abs(token.blocked_until - result.started_at - timedelta(seconds=wait)) < timedelta(seconds=3)
    else:
        assert token.blocked_until is None
    assert token.refreshing_until is None

    # Until then no requests are sent; after that, and after the lost token's lifetime, all is well
    asked = upstream.service.requests.total()
    if wait:
        one_by_one.run()
        assert upstream.service.requests.total() == asked
    upstream.answer_with = lambda _request: None
    clock.shift(301)
    assert one_by_one.run().exit_code == 0
    assert [stored(database, product_id) for product_id in product_ids] == [FRESH] * 3


@pytest.mark.processes
def test_a_token_that_ends_in_the_middle_of_two_runs_is_replaced_once_for_all_threads_and_processes(
    database, upstream, fork
):
    product_ids = make_products(database, 60)
    offer_to_all(upstream, product_ids, FRESH)
    # Long enough for all threads of both to be at it
    upstream.faults.replace([Fault("latency", {"seconds": 0.02}, ("offers", "auth"))])

    def end_it_once(_product_id):
        if upstream.asked.total() == 20:
            upstream.service.end_token()

    upstream.before_offers = end_it_once
    env = environment(database, upstream, SYNC_WORKERS="4")
    processes = [fork("productagg", "sync", "development.ini", env=env) for _ in range(2)]
    outputs = [process.communicate(timeout=30)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    assert upstream.service.requests["offers", 401] + upstream.service.requests["register", 401] > 0
    assert (upstream.service.requests["auth", 201], upstream.count("auth")) == (2, 2)
    assert {(row.failures, row.last_error) for row in rows(database, ProductSource)} == {(0, None)}
    assert [stored(database, product_id) for product_id in product_ids] == [FRESH] * 60
