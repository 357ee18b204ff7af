"""The options of `[server:main]`, read from the ini file and from the command line of `pserve`, and checked.

`pserve development.ini http_port=8000` moves the port. In PasteDeploy, a variable of the command line can add an option
to an ini file but not override it. So these variables have names of their own, or this module lets them win.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waitress.adjustments import Adjustments

from productagg.server.proxies import TrustedProxy

_MAX_PROCESSES = 256
_MAX_PORT = 65535


@dataclass(frozen=True)
class ServerOptions:
    """`request_timeout` is in seconds; `waitress` holds the options that are passed on to waitress."""

    host: str
    port: str
    request_timeout: float
    processes: int
    own_processor: bool
    proxy: TrustedProxy
    waitress: Mapping[str, str]

    def adjustments(self) -> Any:
        """Return waitress' own form of its options: a new object at each call, which the caller may change."""
        return Adjustments(**self.waitress)


def read_options(variables: Mapping[str, str], ini: Mapping[str, str]) -> ServerOptions:
    """Read the options; the command line wins over the ini file. Raises ValueError, with a message for the operator."""
    options = dict(ini)
    host, port = options.pop("host"), options.pop("port")
    values = {
        name: variables.get(name, options.pop(name, default))
        for name, default in (("request_timeout", "30"), ("processes", "1"), ("own_processor", "false"))
    }
    trusted_proxy = options.pop("trusted_proxy", None)
    # waitress would trust and clear proxy headers by rules of its own, and refuse some requests in plain text.
    options["clear_untrusted_proxy_headers"] = "false"
    port_name = "http_port" if "http_port" in variables else "port"
    _check_waitress(options)
    return ServerOptions(
        host=variables.get("http_host", host),
        port=_port(port_name, variables.get("http_port", port)),
        request_timeout=_seconds("request_timeout", values["request_timeout"]),
        processes=_process_count("processes", values["processes"]),
        own_processor=_boolean("own_processor", values["own_processor"]),
        proxy=_proxy("trusted_proxy", variables.get("trusted_proxy", trusted_proxy)),
        waitress=options,
    )


def _port(name: str, text: str) -> str:
    # Sockets would misread non-ASCII digits, signs and numbers above the last port.
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _MAX_PORT:
        raise ValueError(f"{name} is {text!r}, not a whole number from 0 to {_MAX_PORT}")
    return text


def _process_count(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= _MAX_PROCESSES:
        raise ValueError(f"{name} is {text!r}, not a whole number from 1 to {_MAX_PROCESSES}")
    return int(text)


def _seconds(name: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not float(text):
        raise ValueError(f"{name} is {text!r}, not a number of seconds")
    return float(text)


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name} is {text!r}, not 'true' or 'false'")
    return text.lower() == "true"


def _proxy(name: str, text: str | None) -> TrustedProxy:
    try:
        return TrustedProxy(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, not an IP address, a network such as 10.0.0.0/8, or *") from None


def _check_waitress(options: Mapping[str, str]) -> None:
    try:
        threads = Adjustments(**options).threads
    except ValueError as error:
        raise ValueError(f"an option of [server:main] is wrong: {error}") from None
    if threads < 1:
        raise ValueError(f"threads is '{threads}', not a whole number of 1 or more")
