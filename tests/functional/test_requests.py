"""What each request does without: a class of its own, events that nobody listens to, views that nobody asks for."""

import pytest
from pyramid.request import Request
from pyramid.response import Response

from productagg.api import SERVICES
from tests.databases import only_sqlite


@pytest.fixture
def seen(client, add_view):
    """The requests that a view of the test's own has seen."""
    requests = []

    def view(request):
        requests.append(request)
        return Response("seen")

    add_view(client, "/seen", view)
    return requests


@only_sqlite
def test_all_requests_are_of_one_class_with_all_that_was_added(client, seen):
    for _ in range(2):
        client.app.invoke_subrequest(client.app.request_factory.blank("/seen"), use_tweens=True)
        client.get("/seen", expect_errors=True)

    kinds = {type(request) for request in seen}
    assert len(seen) == 4
    (kind,) = kinds
    assert kind is client.app.request_factory
    assert issubclass(kind, Request)
    assert {"dbsession", "reader", "tm"} <= set(dir(kind))


@only_sqlite
def test_what_cornice_keeps_on_a_request_is_that_requests_own(client, seen):
    for _ in range(2):
        client.get("/seen", expect_errors=True)

    one, other = seen
    one.validated["a"], one.info["b"] = 1, 2
    one.errors.add("body", "c", "wrong")
    assert (other.validated, other.info, list(other.errors)) == ({}, {}, [])


@only_sqlite
def test_nobody_listens_to_pyramids_events(client):
    assert not client.app.registry.has_listeners


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_view_that_nearly_nobody_asks_for_is_tried_last(service):
    methods = [method for method, _, _ in service.definitions]

    assert methods[-1] == "OPTIONS"
    assert methods.count("OPTIONS") == 1
    assert len(methods) > 1
