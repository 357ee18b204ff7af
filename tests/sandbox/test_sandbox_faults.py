"""Faults: which definitions are valid, and which of the faults in force affects a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sandbox import Fault, FaultError, Faults
from productagg.sandbox.faults import KINDS
from productagg.sandbox.service import ENDPOINTS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_valid_without_parameters(kind):
    fault = Fault(kind)

    assert set(fault.params) == set(KINDS[kind])
    assert Fault.from_json(fault.to_json()) == fault


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "must be an object"),
        ({}, "kind is missing"),
        ({"kind": "gremlins"}, "kind must be one of latency"),
        ({"kind": ["error"]}, "kind must be one of latency"),
        ({"kind": "error", "status": 500}, "unknown: status"),
        ({"kind": "error", "params": [500]}, "params must be an object"),
        ({"kind": "error", "params": {"statos": 500}}, "error has no parameter 'statos', only: status"),
        ({"kind": "truncated", "params": {"at": 1}}, "truncated has no parameter 'at', only: none"),
        ({"kind": "error", "params": {"status": 418}}, "status of error must be one of 500, 502, 503"),
        ({"kind": "latency", "params": {"seconds": -1}}, "seconds of latency must be a number"),
        ({"kind": "latency", "params": {"seconds": True}}, "seconds of latency must be a number"),
        ({"kind": "latency", "params": {"seconds": float("nan")}}, "seconds of latency must be a number"),
        ({"kind": "oversized", "params": {"bytes": 1}}, "bytes of oversized must be an integer of 2 or more"),
        ({"kind": "oversized", "params": {"declared": 1}}, "declared of oversized must be true or false"),
        ({"kind": "wrong_types", "params": {"form": "x"}}, "form of wrong_types must be one of price_text"),
        ({"kind": "redirect", "params": {"location": "/\r\nSet-Cookie: a"}}, "location of redirect must be"),
        ({"kind": "error", "endpoints": ["prices"]}, "endpoints must be a list"),
        ({"kind": "error", "endpoints": []}, "endpoints must be a list"),
        ({"kind": "error", "endpoints": "offers"}, "endpoints must be a list"),
        ({"kind": "wrong_page", "endpoints": ["feeds"]}, "wrong_page affects only pages"),
        ({"kind": "wrong_feed", "params": {"form": "shrank"}}, "form of wrong_feed must be one of empty_root"),
        ({"kind": "error", "share": 1.1}, "share must be a number from 0 to 1"),
        ({"kind": "error", "share": None}, "share must be a number from 0 to 1"),
        ({"kind": "error", "times": 0}, "times must be 1 or more"),
    ],
)
def test_an_invalid_fault_is_rejected_with_the_reason(data, message):
    with pytest.raises(FaultError, match=f"^{message}|{message}"):
        Fault.from_json(data)


def test_nothing_happens_unless_a_fault_is_in_force():
    assert Faults().next_effect("offers") == (0.0, None)


def test_a_fault_affects_only_its_endpoints():
    fault = Fault("error", endpoints=("offers",))
    faults = Faults([fault])

    assert faults.next_effect("auth").fault is None
    assert faults.next_effect("offers").fault == fault


def test_a_fault_affects_only_the_endpoints_that_its_kind_makes_sense_for():
    faults = Faults([Fault("wrong_feed"), Fault("not_modified")])

    affected = {endpoint: faults.next_effect(endpoint).fault for endpoint in ENDPOINTS}

    assert {endpoint: fault and fault.kind for endpoint, fault in affected.items()} == {
        "auth": None,
        "register": None,
        "offers": None,
        "pages": "not_modified",
        "feeds": "wrong_feed",
        "shop_api": "not_modified",
    }


def test_a_fault_affects_a_limited_number_of_requests_and_then_disappears():
    faults = Faults([Fault("error", times=2)])

    assert [faults.next_effect("auth").fault is not None for _ in range(4)] == [True, True, False, False]
    assert faults.to_json() == []


def test_the_remaining_times_are_shown():
    faults = Faults([Fault("error", times=2)])
    faults.next_effect("auth")

    assert faults.to_json()[0]["times"] == 1


@given(share=st.floats(0, 1), number=st.floats(0, 1, exclude_max=True))
def test_a_fault_affects_a_request_if_the_random_number_is_below_its_share(share, number):
    faults = Faults([Fault("error", share=share)], random_number=lambda: number)

    assert (faults.next_effect("auth").fault is not None) == (number < share)


def test_a_share_is_kept_on_average():
    faults = Faults([Fault("error", share=0.5)])

    assert 400 < sum(faults.next_effect("auth").fault is not None for _ in range(1000)) < 600


def test_latencies_add_up_and_of_the_others_the_first_wins():
    reset, error = Fault("reset", times=1), Fault("error")
    faults = Faults([Fault("latency", {"seconds": 1}), reset, Fault("latency", {"seconds": 2}), error])

    assert faults.next_effect("auth") == (3, reset)
    assert faults.next_effect("auth") == (3, error)


def test_a_fault_that_did_not_win_is_not_used_up():
    faults = Faults([Fault("error"), Fault("reset", times=1)])

    faults.next_effect("auth")

    assert [fault["kind"] for fault in faults.to_json()] == ["error", "reset"]


def test_faults_can_be_replaced_and_cleared():
    faults = Faults([Fault("error")])

    faults.replace([Fault("reset")])
    assert [fault["kind"] for fault in faults.to_json()] == ["reset"]

    faults.clear()
    assert faults.to_json() == []
