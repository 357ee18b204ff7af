"""However connections to the Offers service behave, every product gets its own offers, and none is lost."""

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from productagg.db.models import ProductSource, SyncRun, UpstreamToken
from productagg.sandbox import Fault
from productagg.settings import Settings
from productagg.sync.run import Synchronizer
from productagg.sync.tokens import SharedToken
from tests.conftest import ini
from tests.databases import only_sqlite
from tests.factories import make_due, make_products, rows, states, sync_row
from tests.integration.offer_history import make_synced, recorded, stored
from tests.scripted_server import RESET, ScriptedServer, answer

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CREATED = answer(b"{}", "201 Created")


def own_offers(product_id):
    """Two offers that no other product has."""
    return {UUID(int=product_id.int ^ mask): (product_id.int % 1000 + mask, mask) for mask in (1, 2)}


def whole(product_id):
    body = [{"id": str(id_), "price": price, "items_in_stock": n} for id_, (price, n) in own_offers(product_id).items()]
    return answer(json.dumps(body).encode())


def service(how, token="a-token"):
    """A script that answers requests for a product's offers with `how(request, whole answer)`."""

    def script(request):
        if request.target.endswith("/auth"):
            return [answer(json.dumps({"access_token": token}).encode(), "201 Created")]
        if request.target.endswith("/register"):
            return [CREATED]
        return how(request, whole(UUID(request.target.split("/")[-2])))

    return script


@pytest.fixture
def run_over(database):
    """Make a run over a service that follows this script; returns the report, and the requests that it got."""

    def run(script, **options):
        with ScriptedServer(script) as server:
            options = {"offers.base_url": server.base_url, **options}
            settings = Settings.load(ini(database, **options), environ={})
            with Synchronizer(settings, database.sessions) as made:
                return made.run(), server.requests

    return run


def check_that_all_have_their_own_offers(database, product_ids):
    assert {product_id: stored(database, product_id) for product_id in product_ids} == {
        product_id: own_offers(product_id) for product_id in product_ids
    }
    assert {(row.failures, row.last_error) for row in rows(database, ProductSource)} == {(0, None)}


ODD_ANSWERS = {
    "early hints": lambda _request, whole: [HINTS, whole],
    "early hints in the same packet": lambda _request, whole: [HINTS + whole],
    "many interim answers": lambda _request, whole: [(CONTINUE + HINTS) * 20, 0.01, HINTS, whole],
    "a second time": lambda _request, whole: [whole + whole],
    "and early hints after it": lambda _request, whole: [whole + HINTS],
    "an old server": lambda _request, whole: [whole.replace(b"HTTP/1.1", b"HTTP/1.0")],
    "announcing that it closes": lambda _request, whole: [whole.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)],
}


@only_sqlite  # the cases differ in HTTP only
@pytest.mark.parametrize("how", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_no_product_gets_the_offers_of_another_one(database, run_over, how):
    # Given products that have their offers
    product_ids = make_products(database, 6)
    run_over(service(lambda _request, whole: [whole]))
    before = [recorded(database, product_id) for product_id in product_ids]
    make_due(database)

    result, _ = run_over(service(how), **{"sync.workers": "1"})

    assert result.exit_code == 0
    check_that_all_have_their_own_offers(database, product_ids)
    # Nothing has changed, so nothing is written
    assert [recorded(database, product_id) for product_id in product_ids] == before


CLOSING = {
    "right after every answer": lambda _request, whole: [whole, None],
    "instead of every second answer": lambda request, whole: [whole if request.position == 1 else None],
    "by a reset, instead of every second answer": lambda request, whole: [whole if request.position == 1 else RESET],
}


@only_sqlite
@pytest.mark.parametrize("how", CLOSING.values(), ids=CLOSING)
def test_a_service_that_closes_kept_connections_loses_no_product(database, run_over, how):
    product_ids = make_products(database, 40)

    result, _ = run_over(service(how))

    assert (result.exit_code, result.fetched, result.failed) == (0, 40, 0)
    check_that_all_have_their_own_offers(database, product_ids)


@pytest.mark.parametrize(("endpoint", "status"), [("auth", 429), ("register", 503), ("offers", 429)])
def test_a_busy_service_ends_the_run_even_if_the_database_cannot_be_told(
    database, upstream, one_by_one, caplog, endpoint, status
):
    # Given products of which the first one is asked for, and a database that is away by then
    old, new = states((100, 5)), states((90, 4))
    product_ids = make_synced(database, upstream, one_by_one.run, 3, old, new)
    if endpoint == "auth":
        upstream.service.end_token()
    if endpoint == "register":
        upstream.service.forget_products()
    upstream.faults.replace([Fault("rate_limit", {"status": status, "retry_after": 120}, (endpoint,), times=1)])

    def be_away(*_):
        raise OperationalError("", {}, Exception("the database is away"))

    with patch.object(SharedToken, "block", be_away):
        result = one_by_one.run()

    assert f"answered {status}" in result.ended_by
    assert rows(database, SyncRun)[-1].ended_by == result.ended_by
    assert [stored(database, product_id) for product_id in product_ids] == [old] * 3
    table = [sync_row(database, product_id) for product_id in product_ids]
    assert [(row.failures, row.leased_until) for row in table[1:]] == [(0, None)] * 2
    assert table[0].leased_until is None
    assert "the database is out of reach" in caplog.text

    # And the next run, which does not know it, asks again
    make_due(database)
    assert one_by_one.run().exit_code == 0
    assert [stored(database, product_id) for product_id in product_ids] == [new] * 3


def test_a_token_is_refused_while_the_database_cannot_be_told(database, upstream, one_by_one):
    old, new = states((100, 5)), states((90, 4))
    product_ids = make_synced(database, upstream, one_by_one.run, 3, old, new)
    upstream.service.end_token()
    rejections = []
    reject = SharedToken.reject

    def be_away_once(shared_token, value):
        rejections.append(value)
        if len(rejections) == 1:
            raise OperationalError("", {}, Exception("the database is away"))
        reject(shared_token, value)

    with patch.object(SharedToken, "reject", be_away_once):
        result = one_by_one.run()

    assert len(rejections) > 1
    assert (result.exit_code, result.failed) == (0, 0)
    assert [stored(database, product_id) for product_id in product_ids] == [new] * 3


def test_a_token_that_does_not_say_when_it_ends_is_shared_for_five_minutes(database, run_over):
    product_ids = make_products(database, 3)
    before = datetime.now(UTC)

    result, requests = run_over(service(lambda _request, whole: [whole], token="two words"))

    assert result.exit_code == 0
    assert {request.header("Bearer")[0] for request in requests[1:]} == {"two words"}
    (token,) = rows(database, UpstreamToken)
    assert token.access_token == "two words"
    assert before <= token.expires_at - timedelta(minutes=5) <= datetime.now(UTC)
    check_that_all_have_their_own_offers(database, product_ids)
