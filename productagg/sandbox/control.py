"""The control endpoint, which the real service does not have: it shows the state and sets faults at run time.

The server hands it every request at or below `/control`; faults never affect these. An invalid request is answered with
422 and changes nothing.
"""

from collections.abc import Callable
from typing import Any

from productagg.sandbox.faults import Fault, FaultError, Faults, is_seconds
from productagg.sandbox.service import (
    ENDPOINTS,
    TOKEN_CLAIMS,
    Invalid,
    OffersService,
    Request,
    Response,
    parse_json,
    problem,
)

CONTROL_PATH = "/control"


class Control:
    """Handles control requests. The response to a successful request is the new state.

    `refuse` closes the port for a number of seconds; `connections` counts the open connections.
    """

    def __init__(
        self,
        service: OffersService,
        faults: Faults,
        refuse: Callable[[float], None],
        connections: Callable[[], int],
    ) -> None:
        self._service = service
        self._faults = faults
        self._refuse = refuse
        self._connections = connections
        self._actions: dict[str, dict[str, Callable[[bytes], None]]] = {
            CONTROL_PATH: {"GET": lambda body: None},
            f"{CONTROL_PATH}/faults": {"PUT": self._replace_faults, "DELETE": lambda body: faults.clear()},
            f"{CONTROL_PATH}/forget": {"POST": lambda body: service.forget_products()},
            f"{CONTROL_PATH}/end-token": {"POST": lambda body: service.end_token()},
            f"{CONTROL_PATH}/token-claim": {"PUT": self._set_token_claim},
            f"{CONTROL_PATH}/refuse": {"POST": self._refuse_connections},
        }

    def answer(self, request: Request) -> Response:
        """Carry out the request and answer with the new state."""
        actions = self._actions.get(request.path)
        if actions is None:
            return Response(404, {"detail": "Not Found"})
        action = actions.get(request.method)
        if action is None:
            return Response(405, {"detail": "Method Not Allowed"}, (("Allow", ", ".join(actions)),))
        try:
            action(request.body)
        except Invalid as invalid:
            return invalid.response
        return Response(200, self.state())

    def state(self) -> dict[str, Any]:
        """Describe the sandbox.

        It consists of the faults in force, the number of registered products, the responses by endpoint and status, the
        open connections, and the claim that names the end of a new access token.
        """
        requests: dict[str, dict[str, int]] = {endpoint: {} for endpoint in ENDPOINTS}
        for (endpoint, status), count in sorted(self._service.requests.copy().items()):
            requests[endpoint][str(status)] = count
        return {
            "faults": self._faults.to_json(),
            "registered": len(self._service.registered),
            "requests": requests,
            "connections": self._connections(),
            "token_claim": self._service.token_claim,
        }

    def _replace_faults(self, body: bytes) -> None:
        data = parse_json(body)
        if not isinstance(data, list):
            raise Invalid(problem(["body"], "a list of faults is expected", "type_error.list"))
        self._faults.replace(_read_faults(data))

    def _set_token_claim(self, body: bytes) -> None:
        claim = _member(body, "claim")
        if claim not in TOKEN_CLAIMS:
            message = f"one of {', '.join(TOKEN_CLAIMS)} is expected"
            raise Invalid(problem(["body", "claim"], message, "value_error.claim"))
        self._service.token_claim = claim

    def _refuse_connections(self, body: bytes) -> None:
        seconds = _member(body, "seconds")
        if not is_seconds(seconds):
            message = "a number of seconds from 0 to 86400 is expected"
            raise Invalid(problem(["body", "seconds"], message, "value_error.seconds"))
        self._refuse(seconds)


def _read_faults(data: list[Any]) -> list[Fault]:
    faults, problems = [], []
    for position, item in enumerate(data):
        try:
            faults.append(Fault.from_json(item))
        except FaultError as error:
            problems.append(problem(["body", position], str(error), "value_error.fault"))
    if problems:
        raise Invalid(*problems)
    return faults


def _member(body: bytes, name: str) -> Any:
    """Return a member of a JSON object, None if there is none."""
    data = parse_json(body)
    return data.get(name) if isinstance(data, dict) else None
