"""The control endpoint, which only the sandbox has: says what state it is in and puts faults in force at run time.

The server hands it every request at or below `/control`, which no fault ever touches. What makes no sense is answered
with 422 and changes nothing.
"""

from collections.abc import Callable
from typing import Any

from productagg.sandbox.faults import Fault, FaultError, Faults, is_seconds
from productagg.sandbox.service import (
    ENDPOINTS,
    TOKEN_CLAIMS,
    Answer,
    Invalid,
    OffersService,
    Request,
    parse_json,
    problem,
)

CONTROL_PATH = "/control"


class Control:
    """Answers the requests for control; `refuse` closes the port for some seconds, `connections` counts the open ones.

    Whatever succeeds is answered with the state that it has led to.
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

    def answer(self, request: Request) -> Answer:
        """Do what the request asks for and answer with the state."""
        actions = self._actions.get(request.path)
        if actions is None:
            return Answer(404, {"detail": "Not Found"})
        action = actions.get(request.method)
        if action is None:
            return Answer(405, {"detail": "Method Not Allowed"}, (("Allow", ", ".join(actions)),))
        try:
            action(request.body)
        except Invalid as invalid:
            return invalid.answer
        return Answer(200, self.state())

    def state(self) -> dict[str, Any]:
        """Describe the sandbox: faults in force, registered products, answers by endpoint and status, connections,
        and which claim of a new access token says when it ends.
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
        faults, problems = [], []
        for position, item in enumerate(data):
            try:
                faults.append(Fault.from_json(item))
            except FaultError as error:
                problems.append(problem(["body", position], str(error), "value_error.fault"))
        if problems:
            raise Invalid(*problems)
        self._faults.replace(faults)

    def _set_token_claim(self, body: bytes) -> None:
        data = parse_json(body)
        claim = data.get("claim") if isinstance(data, dict) else None
        if claim not in TOKEN_CLAIMS:
            message = f"one of {', '.join(TOKEN_CLAIMS)} is expected"
            raise Invalid(problem(["body", "claim"], message, "value_error.claim"))
        self._service.token_claim = claim

    def _refuse_connections(self, body: bytes) -> None:
        data = parse_json(body)
        seconds = data.get("seconds") if isinstance(data, dict) else None
        if not is_seconds(seconds):
            message = "a number of seconds from 0 to 86400 is expected"
            raise Invalid(problem(["body", "seconds"], message, "value_error.seconds"))
        self._refuse(seconds)
