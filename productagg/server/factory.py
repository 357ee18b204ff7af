"""The server factory (`[server:main] use = egg:productagg`): the first of our code that `pserve` calls.

`pserve` asks for the server before it reads the application's options from the ini file. So this is the place to refuse
an ini file that PasteDeploy cannot read: PasteDeploy's error would show the value of the option, which may be a secret.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from productagg import ini
from productagg.server import serve
from productagg.settings import SettingsError


def make_server(variables: Mapping[str, str], **options: Any) -> Callable[[Any], int]:
    """The server, which takes the application. An ini file that cannot be read ends the process with one line."""
    try:
        ini.check_applications(variables["__file__"], variables)
    except SettingsError as error:
        raise SystemExit(f"productagg: {error}") from None
    return partial(serve, variables=variables, **options)
