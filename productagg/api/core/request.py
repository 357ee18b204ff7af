"""The typed request of this service: `request.dbsession`, `request.reader`, `request.services`, `request.identity`.

It has one class, made at start-up. Pyramid would otherwise make a class for every request, to add what
`add_request_method` has declared: that takes as long as a view, and slows down each later attribute access.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pyramid.request
from cornice.errors import Errors
from pyramid.config import Configurator
from pyramid.interfaces import IRequestExtensions
from pyramid.response import Response
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from productagg.accounts.users import Account
from productagg.api.core.services import Registry, Services
from productagg.api.core.transactions import join_transaction


class Request(pyramid.request.Request):
    """A request with the parts of the application that it needs."""

    # WebOb's and Pyramid's own, with their types.
    environ: dict[str, Any]
    headers: Mapping[str, str]
    matchdict: dict[str, str]
    method: str
    path: str
    query_string: str
    content_type: str
    content_length: int | None
    registry: Registry
    # The user whose access token was sent, if the token is valid.
    identity: Account | None

    # Pyramid sets these. Attributes that the class does not have, WebOb keeps in a place that takes longer to search.
    invoke_subrequest = request_iface = None

    @property
    def services(self) -> Services:
        return self.registry.services

    @cached_property
    def dbsession(self) -> Session:
        """The session of the request's transaction, which commits after the view."""
        return join_transaction(self.services.sessions(), self.tm)

    @cached_property
    def reader(self) -> Connection:
        """A connection to read with, without a transaction."""
        connection, give_back = self.services.readers.take()
        self.add_finished_callback(lambda _request: give_back())
        return connection

    @property
    def application_url(self) -> str:
        """The beginning of all URLs of this service."""
        return self.services.settings.public_url or str(super().application_url)

    @cached_property
    def validated(self) -> dict[object, Any]:
        """The value that each validator has read. Views ask the validator for it: see `Validator.value`."""
        return {}

    # Cornice would set these two on every request.
    @cached_property
    def errors(self) -> Errors:
        return Errors()

    @cached_property
    def info(self) -> dict[str, Any]:
        return {}


Handler = Callable[[Request], Response]


def use_one_class(config: Configurator) -> None:
    """Make all requests of one class, with what has been declared by `add_request_method` until now."""
    config.commit()
    extensions = config.registry.getUtility(IRequestExtensions)
    declared = {**extensions.descriptors, **extensions.methods}
    extensions.descriptors.clear()
    extensions.methods.clear()
    config.set_request_factory(type("Request", (Request,), declared))
