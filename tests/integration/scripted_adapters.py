"""Adapters whose answers a test chooses."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import colander

from productagg.sources.base import Failure, Outcome, Request, Snapshot, SourceOffer
from productagg.sync import lanes


class Configuration(colander.MappingSchema):  # type: ignore[misc]
    url = colander.SchemaNode(colander.String(), missing=None)


class ScriptedAdapter:
    """Answers what `answers` returns for a request; `asked` has the requests."""

    title = "Scripted"
    configuration_schema = Configuration
    locator = "anything"

    def __init__(self, answers: Callable[[Request], Iterable[Outcome]], *, whole_document=False):
        self._answers = answers
        self.whole_document = whole_document
        self.asked: list[Request] = []

    def check_locator(self, locator):
        return locator

    def fetch(self, request):
        self.asked.append(request)
        yield from self._answers(request)


def install(monkeypatch, **adapters):
    """Let these be the adapters that are installed, by their kinds."""
    monkeypatch.setattr(lanes, "load", adapters.__getitem__)


def an_offer(locator, external_id="one", price=100, items=5, **facts):
    return SourceOffer(str(locator), external_id, price, "EUR", "A shop", items_in_stock=items, **facts)


def complete(*offers, **facts):
    return Snapshot(list(offers), complete=True, **facts)


def too_many_requests(seconds=600):
    return Failure("the shop answered 429", "status_429", datetime.now(UTC) + timedelta(seconds=seconds))
