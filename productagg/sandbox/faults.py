"""The kinds of faults, the faults in force, and the decision which of them affects the next request.

Tests, the command line and the control endpoint set faults. The server asks `Faults` once for every request to an
endpoint of the Offers service or of a shop, and carries the fault out together with `responses.py`.
"""

import math
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from productagg.sandbox.bad_bodies import MALFORMED, WRONG_TYPES
from productagg.sandbox.bad_documents import WRONG_FEEDS, WRONG_JSON, WRONG_PAGES
from productagg.sandbox.service import ENDPOINTS, OFFERS_ENDPOINTS, SHOP_ENDPOINTS, Endpoint


class FaultError(ValueError):
    """An invalid fault. The message says what is wrong with it."""


class _Parameter(NamedTuple):
    default: Any
    accepts: Callable[[Any], bool]
    expectation: str


def is_seconds(value: object) -> TypeGuard[float]:
    """Whether the value is a duration of at most a day."""
    return _is_number(value) and 0 <= value <= 86_400


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _seconds(default: float) -> _Parameter:
    return _Parameter(default, is_seconds, "a number of seconds from 0 to 86400")


def _integer(default: int, minimum: int) -> _Parameter:
    return _Parameter(
        default, lambda value: type(value) is int and value >= minimum, f"an integer of {minimum} or more"
    )


def _flag(default: bool) -> _Parameter:
    return _Parameter(default, lambda value: isinstance(value, bool), "true or false")


def _one_of(*choices: Any) -> _Parameter:
    return _Parameter(
        choices[0],
        lambda value: any(value == choice and type(value) is type(choice) for choice in choices),
        f"one of {', '.join(map(str, choices))}",
    )


def _is_location(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != ""


KINDS: dict[str, dict[str, _Parameter]] = {
    # The response is correct but late.
    "latency": {"seconds": _seconds(1.0)},
    # The request is not processed.
    "error": {"status": _one_of(500, 502, 503, 403, 404)},
    "rate_limit": {
        "status": _one_of(429, 503),
        "retry_after": _integer(1, minimum=0),
        "form": _one_of("seconds", "date", "nonsense"),
    },
    "redirect": {
        "status": _one_of(302, 301, 303, 307, 308),
        "location": _Parameter("http://127.0.0.1:9/", _is_location, "a printable ASCII text"),
    },
    # 304, whatever the client has.
    "not_modified": {},
    "refuse": {"seconds": _seconds(1.0)},
    # The connection is reset; `processed` says whether the request is processed before.
    "reset": {"processed": _flag(True)},
    # The request is processed and the response spoiled.
    "truncated": {},
    "truncated_chunked": {},
    "dripping": {"drip_seconds": _seconds(0.1), "part": _one_of("body", "all")},
    "oversized": {"bytes": _integer(100_000_000, minimum=2), "declared": _flag(True)},
    "gzip_bomb": {"bytes": _integer(100_000_000, minimum=2)},
    "malformed": {"form": _one_of(*MALFORMED)},
    "wrong_types": {"form": _one_of(*WRONG_TYPES)},
    "wrong_page": {"form": _one_of(*WRONG_PAGES)},
    "wrong_feed": {"form": _one_of(*WRONG_FEEDS)},
    "wrong_json": {"form": _one_of(*WRONG_JSON)},
}
# The kinds that make sense at some endpoints only; they never affect the others.
_ENDPOINTS_OF: dict[str, tuple[Endpoint, ...]] = {
    "not_modified": SHOP_ENDPOINTS,
    "wrong_types": OFFERS_ENDPOINTS,
    "wrong_page": ("pages",),
    "wrong_feed": ("feeds",),
    "wrong_json": ("shop_api",),
}


@dataclass(frozen=True)
class Fault:
    """One way to misbehave: a kind with its parameters (see `KINDS`; a missing parameter takes its default).

    It affects only requests to those of `endpoints` that its kind makes sense for: a request with probability `share`
    (0 to 1), at most `times` requests (None: no limit). Raises `FaultError` if a value is invalid.
    """

    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ENDPOINTS
    share: float = 1.0
    times: int | None = None

    def __post_init__(self) -> None:
        _require(isinstance(self.kind, str) and self.kind in KINDS, f"kind must be one of {', '.join(KINDS)}")
        _check_params(self.kind, self.params)
        _check_endpoints(self.kind, self.endpoints)
        _require(_is_share(self.share), "share must be a number from 0 to 1")
        _require(self.times is None or _is_count(self.times), "times must be 1 or more, or null")
        defaults = {name: parameter.default for name, parameter in KINDS[self.kind].items()}
        object.__setattr__(self, "params", {**defaults, **self.params})

    def affects(self, endpoint: Endpoint) -> bool:
        """Whether it may affect requests to this endpoint."""
        return endpoint in self.endpoints and endpoint in _ENDPOINTS_OF.get(self.kind, ENDPOINTS)

    @classmethod
    def from_json(cls, data: object) -> "Fault":
        """Read a fault from a JSON object. Raises `FaultError`."""
        if not isinstance(data, dict):
            raise FaultError("a fault must be an object")
        unknown = data.keys() - cls.__dataclass_fields__.keys()
        _require(not unknown, f"unknown: {', '.join(sorted(unknown))}")
        _require("kind" in data, "kind is missing")
        if isinstance(data.get("endpoints"), list):
            data = {**data, "endpoints": tuple(data["endpoints"])}
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` reads."""
        return {**vars(self), "params": dict(self.params), "endpoints": list(self.endpoints)}


def _check_params(kind: str, params: object) -> None:
    if not isinstance(params, Mapping):
        raise FaultError("params must be an object")
    known = KINDS[kind]
    for name, value in params.items():
        _require(name in known, f"{kind} has no parameter {name!r}, only: {', '.join(known) or 'none'}")
        _require(known[name].accepts(value), f"{name} of {kind} must be {known[name].expectation}")


def _check_endpoints(kind: str, endpoints: object) -> None:
    is_valid = isinstance(endpoints, tuple) and endpoints != () and all(name in ENDPOINTS for name in endpoints)
    _require(is_valid, f"endpoints must be a list of one or more of {', '.join(ENDPOINTS)}")
    assert isinstance(endpoints, tuple)
    usable = _ENDPOINTS_OF.get(kind, ENDPOINTS)
    _require(not set(usable).isdisjoint(endpoints), f"{kind} affects only {', '.join(usable)}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise FaultError(message)


class Effect(NamedTuple):
    """The treatment of one request: it is delayed by `delay` seconds, then `fault` (if any) is carried out."""

    delay: float = 0.0
    fault: Fault | None = None

    def admits(self, fault: Fault) -> bool:
        """Whether the fault can be added: all latencies add up, but only the first of the other faults counts."""
        return self.fault is None or fault.kind == "latency"

    def plus(self, fault: Fault) -> "Effect":
        if fault.kind == "latency":
            return self._replace(delay=self.delay + fault.params["seconds"])
        return self._replace(fault=fault)


class Faults:
    """The faults in force. Thread-safe. `random_number` returns a number from 0 up to 1, which decides about shares."""

    def __init__(self, faults: Iterable[Fault] = (), *, random_number: Callable[[], float] = random.random) -> None:
        self._random_number = random_number
        self._lock = threading.Lock()
        self._in_force: list[tuple[Fault, float]] = []  # with the number of times that are left
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Replace all faults in force."""
        in_force = [(fault, math.inf if fault.times is None else fault.times) for fault in faults]
        with self._lock:
            self._in_force = in_force

    def clear(self) -> None:
        """Behave correctly from now on."""
        self.replace(())

    def to_json(self) -> list[dict[str, Any]]:
        """Describe the faults in force. `times` counts down, and a fault that is used up disappears."""
        with self._lock:
            in_force = list(self._in_force)
        return [{**fault.to_json(), "times": None if left == math.inf else left} for fault, left in in_force]

    def next_effect(self, endpoint: Endpoint) -> Effect:
        """Decide about the next request: all latencies add up, and the first of the other faults wins."""
        effect = Effect()
        with self._lock:
            for position, (fault, left) in enumerate(self._in_force):
                if effect.admits(fault) and self._affects(fault, endpoint):
                    self._in_force[position] = (fault, left - 1)
                    effect = effect.plus(fault)
            self._in_force = [(fault, left) for fault, left in self._in_force if left > 0]
        return effect

    def _affects(self, fault: Fault, endpoint: Endpoint) -> bool:
        return fault.affects(endpoint) and self._random_number() < fault.share
