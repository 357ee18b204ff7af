"""How large a request's body may be. The parser of requests asks here before it reads a body.

An endpoint declares its limit once, with its validator (`max_bytes`), and refuses a larger body itself. The server
receives somewhat more than most endpoints accept, so that a client that is slightly over gets the endpoint's answer and
keeps its connection. Beyond that the server refuses the body before it reads it.
"""

from collections.abc import Iterable

from productagg.api.core.service import ContractService

# Received at every path. A larger body is handled as a large request: see dispatcher.py.
ORDINARY_BYTES = 1024 * 1024


class BodyLimits:
    """The limits by path. No body may reach `ceiling` bytes, even if an endpoint declares more."""

    def __init__(self, services: Iterable[ContractService], ceiling: int) -> None:
        self._ceiling = ceiling
        self._by_path = {service.path: limit for service in services if (limit := _declared(service)) > ORDINARY_BYTES}
        for path in self._by_path:
            if "{" in path:
                raise ValueError(
                    f"{path} declares a limit above {ORDINARY_BYTES} bytes: that needs a path without parameters"
                )

    def at(self, path: str, *, has_credentials: bool) -> int:
        """Return the number of bytes that a body at this path must stay below.

        A body waits on the disk until it is complete. Only a client that sends credentials may put a large one there:
        anyone else could fill the disk.
        """
        declared = self._by_path.get(path, 0) if has_credentials else 0
        return min(self._ceiling, max(ORDINARY_BYTES, declared + 1))


def _declared(service: ContractService) -> int:
    """Return the largest body that any method of the service accepts."""
    validators = (validator for operation in service.operations.values() for validator in operation.validators)
    return max((validator.max_bytes for validator in validators), default=0)
