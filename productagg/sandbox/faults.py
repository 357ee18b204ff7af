"""Which faults there are, which are in force, and which of them hits the next request.

A `Fault` is checked when it is made, so one that exists makes sense. The server asks `Faults` once for every request
below `/api/v1`; tests, the command line and the control endpoint say what is in force. Nothing here carries a fault
out: `responses.py` and `server.py` do.
"""

import math
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from productagg.sandbox.bad_bodies import MALFORMED, WRONG_TYPES
from productagg.sandbox.service import ENDPOINTS, Endpoint


class FaultError(ValueError):
    """A fault that makes no sense; the message says what is wrong with it."""


class _Param(NamedTuple):
    default: Any
    accepts: Callable[[Any], bool]
    meaning: str


def is_seconds(value: object) -> TypeGuard[float]:
    """Say whether the value is a length of time of no more than a day."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 86_400


def _seconds(default: float) -> _Param:
    return _Param(default, is_seconds, "a number of seconds from 0 to 86400")


def _integer(default: int, least: int) -> _Param:
    return _Param(default, lambda value: type(value) is int and value >= least, f"an integer of {least} or more")


def _flag(default: bool) -> _Param:
    return _Param(default, lambda value: isinstance(value, bool), "true or false")


def _one_of(*choices: Any) -> _Param:
    return _Param(
        choices[0],
        lambda value: any(value == choice and type(value) is type(choice) for choice in choices),
        f"one of {', '.join(map(str, choices))}",
    )


def _is_location(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != ""


KINDS: dict[str, dict[str, _Param]] = {
    # The answer is right, but late.
    "latency": {"seconds": _seconds(1.0)},
    # The request is not even looked at.
    "error": {"status": _one_of(500, 502, 503)},
    "rate_limit": {
        "status": _one_of(429, 503),
        "retry_after": _integer(1, least=0),
        "form": _one_of("seconds", "date", "nonsense"),
    },
    "redirect": {
        "status": _one_of(302, 301, 303, 307, 308),
        "location": _Param("http://127.0.0.1:9/", _is_location, "a printable ASCII text"),
    },
    "refuse": {"seconds": _seconds(1.0)},
    # The connection is reset; what the request asked for is done or not, as `processed` says.
    "reset": {"processed": _flag(True)},
    # The request is processed, and the answer spoiled.
    "truncated": {},
    "truncated_chunked": {},
    "dripping": {"drip_seconds": _seconds(0.1), "part": _one_of("body", "all")},
    "oversized": {"bytes": _integer(100_000_000, least=2), "declared": _flag(True)},
    "gzip_bomb": {"bytes": _integer(100_000_000, least=2)},
    "malformed": {"form": _one_of(*MALFORMED)},
    "wrong_types": {"form": _one_of(*WRONG_TYPES)},
}


@dataclass(frozen=True)
class Fault:
    """One way to misbehave: `kind` and `params` say how (see `KINDS`; what is left out takes the default).

    It hits requests to `endpoints` only, each with probability `share` (0 to 1), and no more than `times` of them
    (None: no limit). Raises `FaultError` when any of this makes no sense.
    """

    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ENDPOINTS
    share: float = 1.0
    times: int | None = None

    def __post_init__(self) -> None:
        _require(isinstance(self.kind, str) and self.kind in KINDS, f"kind must be one of {', '.join(KINDS)}")
        _require(isinstance(self.params, Mapping), "params must be an object")
        known = KINDS[self.kind]
        for name, value in self.params.items():
            _require(name in known, f"{self.kind} has no parameter {name!r}, only: {', '.join(known) or 'none'}")
            _require(known[name].accepts(value), f"{name} of {self.kind} must be {known[name].meaning}")
        _require(
            isinstance(self.endpoints, tuple) and self.endpoints != () and all(e in ENDPOINTS for e in self.endpoints),
            f"endpoints must be a list of one or more of {', '.join(ENDPOINTS)}",
        )
        is_number = isinstance(self.share, (int, float)) and not isinstance(self.share, bool)
        _require(is_number and 0 <= self.share <= 1, "share must be a number from 0 to 1")
        _require(
            self.times is None or (type(self.times) is int and self.times >= 1), "times must be 1 or more, or null"
        )
        defaults = {name: param.default for name, param in known.items()}
        object.__setattr__(self, "params", {**defaults, **self.params})

    @classmethod
    def from_json(cls, data: object) -> "Fault":
        """Make a fault of an object as JSON has it; raises `FaultError`."""
        if not isinstance(data, dict):
            raise FaultError("a fault must be an object")
        unknown = data.keys() - cls.__dataclass_fields__.keys()
        _require(not unknown, f"unknown: {', '.join(sorted(unknown))}")
        _require("kind" in data, "kind is missing")
        if isinstance(data.get("endpoints"), list):
            data = {**data, "endpoints": tuple(data["endpoints"])}
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` makes this fault of."""
        return {**vars(self), "params": dict(self.params), "endpoints": list(self.endpoints)}


class Hit(NamedTuple):
    """What becomes of one request: it is held up for `delay` seconds, then `fault` (if any) is carried out."""

    delay: float = 0.0
    fault: Fault | None = None


class Faults:
    """The faults in force; safe to use from many threads. `chance` draws from 0 up to 1 and decides about shares."""

    def __init__(self, faults: Iterable[Fault] = (), *, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._in_force: list[tuple[Fault, float]] = []
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Put these faults in force instead of all others."""
        in_force = [(fault, math.inf if fault.times is None else fault.times) for fault in faults]
        with self._lock:
            self._in_force = in_force

    def clear(self) -> None:
        """Behave well from now on."""
        self.replace(())

    def to_json(self) -> list[dict[str, Any]]:
        """Describe what is in force; `times` counts down and a fault that is used up is no longer there."""
        with self._lock:
            in_force = list(self._in_force)
        return [{**fault.to_json(), "times": None if left == math.inf else left} for fault, left in in_force]

    def hit(self, endpoint: Endpoint) -> Hit:
        """Decide what becomes of the next request: all latencies add up, of the other faults the first one wins."""
        if not self._in_force:
            return Hit()
        delay, chosen = 0.0, None
        with self._lock:
            for position, (fault, left) in enumerate(self._in_force):
                is_latency = fault.kind == "latency"
                if endpoint not in fault.endpoints or (chosen and not is_latency) or self._chance() >= fault.share:
                    continue
                self._in_force[position] = (fault, left - 1)
                if is_latency:
                    delay += fault.params["seconds"]
                else:
                    chosen = fault
            self._in_force = [(fault, left) for fault, left in self._in_force if left > 0]
        return Hit(delay, chosen)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise FaultError(message)
