"""What one sync run makes of the responses of the Offers service."""

import json
import socket
from datetime import UTC, datetime
from uuid import UUID

import pytest

from productagg.catalog import products as catalog
from productagg.db.models import Offer, OfferPrice, ProductPrice, SyncRun
from productagg.sandbox import Fault, Registration
from productagg.sandbox.service import Response, endpoint_of
from productagg.sources.offers_service.client import OffersClient
from productagg.sync import outcomes
from tests.factories import make_due, make_product, make_products, rows, states, sync_row
from tests.integration.conftest import before_call, crash
from tests.integration.offer_history import stored


def refusing(product_id):
    """The Offers service takes this product's data for invalid."""

    def answer_with(request):
        if endpoint_of(request.path) == "register" and UUID(json.loads(request.body)["id"]) == product_id:
            return Response(422, {"detail": []})
        return None

    return answer_with


def test_a_pending_product_is_registered_and_its_offers_are_fetched(database, upstream, synchronizer):
    product_id = make_product(database, "Kettle", "Boils water")
    offers = states((100, 5), (200, 3))
    upstream.offer(product_id, offers)

    result = synchronizer.run()

    assert upstream.service.registered == {product_id: Registration(product_id, "Kettle", "Boils water")}
    assert stored(database, product_id) == offers
    row = sync_row(database, product_id)
    assert (row.registration, row.failures, row.last_error, row.leased_until) == ("registered", 0, None, None)
    assert result.started_at <= row.registered_at == row.last_synced_at == row.last_changed_at <= result.finished_at
    assert (result.asked, result.changed, result.closed, result.failed) == (1, 1, 0, 0)
    assert (result.ended_by, result.exit_code) == ("done", 0)


def test_a_run_with_nothing_due_sends_no_requests(database, upstream, synchronizer):
    assert synchronizer.run().exit_code == 0

    assert not upstream.service.requests


def test_the_next_run_follows_what_changed_vanished_and_came(database, upstream, synchronizer):
    product_id = make_product(database)
    changing, vanishing, constant, new = states(*[(0, 0)] * 4)
    upstream.offer(product_id, {changing: (100, 5), vanishing: (200, 3), constant: (300, 1)})
    synchronizer.run()
    upstream.offer(product_id, {changing: (90, 4), constant: (300, 1), new: (50, 9)})
    make_due(database)

    result = synchronizer.run()

    assert stored(database, product_id) == {changing: (90, 4), constant: (300, 1), new: (50, 9)}
    assert [row.items_in_stock for row in rows(database, OfferPrice, offer_id=vanishing)] == [3, 0]
    assert len(rows(database, ProductPrice)) == 2
    assert (result.asked, result.changed, result.closed) == (1, 1, 1)
    assert upstream.count("register") == 1


def test_a_run_over_unchanged_offers_writes_no_history_and_reports_no_change(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    synchronizer.run()
    before = rows(database, Offer), rows(database, OfferPrice), rows(database, ProductPrice)
    first = sync_row(database, product_id)
    make_due(database)

    result = synchronizer.run()

    assert (rows(database, Offer), rows(database, OfferPrice), rows(database, ProductPrice)) == before
    assert (result.asked, result.changed) == (1, 0)
    again = sync_row(database, product_id)
    assert again.last_changed_at == first.last_changed_at
    assert again.last_synced_at > first.last_synced_at


def test_no_offers_at_all_is_news_once(database, synchronizer):
    product_id = make_product(database)
    synchronizer.run()
    make_due(database)

    synchronizer.run()

    assert [row.offers for row in rows(database, ProductPrice)] == [0]
    assert sync_row(database, product_id).last_changed_at is None


def test_that_a_product_is_registered_already_is_success(database, upstream, synchronizer):
    product_id = make_product(database)
    # The answer is lost, and so is that to the request that is sent once more
    upstream.faults.replace([Fault("reset", {"processed": True}, ("register",), times=2)])
    assert synchronizer.run().exit_code == 1
    assert sync_row(database, product_id).registration == "pending"
    make_due(database)

    result = synchronizer.run()

    assert upstream.service.requests["register", 409] == 1
    assert result.exit_code == 0
    assert sync_row(database, product_id).registration == "registered"


def test_a_product_that_the_service_forgot_is_registered_again_and_fetched(database, upstream, synchronizer):
    product_id = make_product(database)
    offers = states((100, 5))
    upstream.offer(product_id, offers)
    synchronizer.run()
    upstream.service.forget_products()
    make_due(database)

    result = synchronizer.run()

    assert product_id in upstream.service.registered
    assert upstream.service.requests["offers", 404] == 1
    assert (result.failed, result.closed) == (0, 0)
    assert stored(database, product_id) == offers


def test_a_forgotten_product_whose_offers_cannot_be_fetched_keeps_them(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))
    synchronizer.run()
    before = rows(database, Offer)
    upstream.service.forget_products()
    make_due(database)
    upstream.faults.replace([Fault("error", {}, ("register",))])

    assert synchronizer.run().exit_code == 1

    assert rows(database, Offer) == before


@pytest.mark.parametrize("forgotten", [False, True], ids=["new", "forgotten"])
def test_a_product_that_the_service_refuses_has_failed_and_the_others_go_on(
    database, upstream, synchronizer, forgotten
):
    refused, accepted = make_products(database, 2)
    if forgotten:
        synchronizer.run()
        upstream.service.forget_products()
        make_due(database)
    upstream.answer_with = refusing(refused)

    result = synchronizer.run()

    row = sync_row(database, refused)
    assert (row.registration, row.failures) == ("failed", 1)
    assert "422" in row.last_error
    assert sync_row(database, accepted).registration == "registered"
    assert (result.asked, result.failed, result.exit_code) == (2, 1, 1)


def test_a_refused_product_that_was_changed_is_registered_by_the_next_run(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.answer_with = refusing(product_id)
    synchronizer.run()
    upstream.answer_with = lambda _request: None
    with database.sessions.begin() as session:
        catalog.change(session, product_id, datetime.now(UTC), description="Better")

    synchronizer.run()

    row = sync_row(database, product_id)
    assert (row.registration, row.failures, row.last_error) == ("registered", 0, None)
    assert upstream.service.registered[product_id].description == "Better"


def test_a_success_forgets_earlier_failures(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.faults.replace([Fault("error", {}, ("offers",), times=1)])
    synchronizer.run()
    make_due(database)

    synchronizer.run()

    row = sync_row(database, product_id)
    assert (row.failures, row.last_error) == (0, None)


def test_a_fault_of_ours_that_one_product_brings_to_light_does_not_stop_the_others(
    database, upstream, one_by_one, monkeypatch, caplog
):
    unlucky, lucky = make_products(database, 2)
    honest = OffersClient.offers

    def stumble(client, token, product_id):
        if product_id == unlucky:
            raise ZeroDivisionError
        return honest(client, token, product_id)

    monkeypatch.setattr(OffersClient, "offers", stumble)

    result = one_by_one.run()

    assert sync_row(database, unlucky).last_error == "a fault in productagg: ZeroDivisionError"
    assert sync_row(database, lucky).last_error is None
    assert (result.failed, result.exit_code) == (1, 1)
    assert "Traceback" in caplog.text


def test_what_becomes_due_during_a_run_is_left_to_the_next_one(database, upstream, synchronizer):
    early = make_product(database, "Early")
    created = []

    def create_another(_product_id):
        with database.sessions.begin() as session:
            created.append(catalog.create(session, "Late", "", datetime.now(UTC)))

    upstream.before_offers = create_another
    synchronizer.run()
    upstream.before_offers = lambda _product_id: None
    assert upstream.asked == {early: 1}

    synchronizer.run()

    assert upstream.asked == {early: 1, created[0]: 1}


def test_every_run_leaves_a_row_with_its_host_and_counts(database, upstream, one_by_one):
    make_products(database, 3)
    upstream.faults.replace([Fault("error", {}, ("offers",), times=1)])

    result = one_by_one.run()

    (run,) = rows(database, SyncRun)
    assert run.host == socket.gethostname()
    assert (run.started_at, run.finished_at) == (result.started_at, result.finished_at)
    assert (run.leased, run.changed, run.failed, run.ended_by) == (3, 0, 1, "done")


def test_a_run_that_crashed_says_so_in_its_row(database, upstream, synchronizer):
    product_id = make_product(database)
    upstream.offer(product_id, states((100, 5)))

    with before_call(outcomes, "apply_updates", crash), pytest.raises(ZeroDivisionError):
        synchronizer.run()

    (run,) = rows(database, SyncRun)
    assert (run.ended_by, run.finished_at is None) == ("crashed", False)
    assert rows(database, Offer) == []
