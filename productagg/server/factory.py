"""The server factory (`[server:main] use = egg:productagg`): the first of our code that `pserve` calls.

`pserve` asks for the server before it reads the application's options from the ini file. That makes this the place to
refuse an ini file that PasteDeploy cannot read: PasteDeploy's error would show the option's value, which may be secret.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from productagg import ini
from productagg.server.serve import serve
from productagg.settings import SettingsError


def make_server(variables: Mapping[str, str], **options: str) -> Callable[[Any], int]:
    """Return the server, a function of the application. An unreadable ini file ends the process with one line."""
    try:
        ini.check_applications(variables["__file__"], variables)
    except SettingsError as error:
        raise SystemExit(f"productagg: {error}") from None
    return partial(serve, variables=variables, **options)
