"""The class of requests: with all that Pyramid would put on each request by itself, and what Cornice wants on it.

Pyramid makes a new class for every request, to give it what `add_request_method` has added. That takes as long as a
view does, and whatever is looked up on the request after that takes longer, too.
"""

from typing import Any

from cornice.errors import Errors
from pyramid.decorator import reify
from pyramid.interfaces import IRequestExtensions
from pyramid.request import Request


class _Request(Request):
    """Cornice wants these, and would set them on each request."""

    registry: Any
    invoke_subrequest = request_iface = None  # or WebOb would keep them, and look them up, somewhere else

    @property
    def application_url(self) -> str:
        """What all URLs of this service begin with."""
        public: str | None = self.registry["settings"].public_url
        return public or str(super().application_url)

    @reify
    def validated(self) -> dict[str, Any]:
        return {}

    @reify
    def errors(self) -> Errors:
        return Errors()

    @reify
    def info(self) -> dict[str, Any]:
        return {}


def use_one_class(config: Any) -> None:
    """Have the application make requests of one class, with all that has been added until now."""
    config.commit()
    extensions = config.registry.getUtility(IRequestExtensions)
    added = {**extensions.descriptors, **extensions.methods}
    extensions.descriptors.clear()
    extensions.methods.clear()
    config.set_request_factory(type("Request", (_Request,), added))
