"""Services: the endpoints of a resource, as Cornice services whose views declare what they take and answer.

The OpenAPI document is made of these declarations.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import colander
from cornice import Service
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from productagg.api.core import idempotency
from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode
from productagg.api.core.request import Request
from productagg.api.core.responses import respond
from productagg.api.core.validators import Validator

# Public views declare this instead of a permission.
PUBLIC = NO_PERMISSION_REQUIRED


@dataclass(frozen=True)
class Operation:
    """A method of a service: its view, its permission, and what it takes and answers."""

    method: str
    view: Callable[[Request], Response]
    permission: str
    validators: Sequence[Validator[Any]]
    answers: Sequence[Answer]
    errors: Sequence[ErrorCode]
    idempotent: bool
    head: tuple[str, str] | None


class ContractService(Service):
    """A Cornice service that remembers the declarations of its views.

    Every POST that needs a permission takes an Idempotency-Key.
    `tag` is its heading in the document; None: the document leaves it out.
    """

    def __init__(self, name: str, path: str, tag: str | None, path_parameters: Sequence[colander.SchemaNode]) -> None:
        super().__init__(name=name, path=path, renderer=None)
        declared = [node.name for node in path_parameters]
        if tag is not None and declared != re.findall(r"{(\w+)}", path):
            raise ValueError(f"{path} declares the path parameters {declared}")
        self.tag = tag
        self.path_parameters = path_parameters
        self.operations: dict[str, Operation] = {}
        # Cornice's own add_view: OPTIONS is the same everywhere, and no operation of the contract.
        super().add_view("OPTIONS", self._list_methods, permission=PUBLIC)

    def add_view(
        self,
        method: str,
        view: Callable[[Request], Response],
        *,
        permission: str,
        validators: Sequence[Validator[Any]],
        answers: Sequence[Answer] = (),
        errors: Sequence[ErrorCode] = (),
        head: tuple[str, str] | None = None,
        **options: Any,
    ) -> None:
        """`answers` declares each success, `errors` the codes that the view raises.

        `head` makes HEAD an operation of its own, with this name and text; otherwise the document does not mention it.
        """
        if self.tag is not None and not answers:
            raise ValueError(f"{view.__name__} declares no answers")
        method = method.lower()
        # A public POST has no user whose key it could be. The login's answer must not be stored; others only read.
        is_idempotent = method == "post" and permission != PUBLIC
        if is_idempotent:
            options["decorator"] = idempotency.idempotent
            errors = (*errors, *idempotency.ERRORS)
        self.operations[method] = Operation(method, view, permission, validators, answers, errors, is_idempotent, head)
        super().add_view(method, view, permission=permission, validators=validators, **options)
        # Pyramid tries views in the order in which they were added: the rarest method comes last.
        self.definitions.sort(key=lambda definition: definition[0] == "OPTIONS")

    def _list_methods(self, _request: Request) -> Response:
        response = respond(None, status=204, headers={"Allow": ", ".join(self.defined_methods)})
        if "patch" in self.operations:
            response.headers["Accept-Patch"] = ", ".join(
                media_type
                for validator in self.operations["patch"].validators
                if validator.body
                for media_type in validator.media_types
            )
        return response


def service(name: str, path: str, tag: str | None, *path_parameters: colander.SchemaNode) -> ContractService:
    return ContractService(name, path, tag, path_parameters)
