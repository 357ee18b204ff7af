"""The composition root of the web service: `pserve` and the tests make the WSGI application here."""

import logging
from typing import Any

from pyramid.config import Configurator
from sqlalchemy.exc import DBAPIError

from productagg import logs
from productagg.accounts import users
from productagg.accounts.login_throttle import LoginThrottle
from productagg.api.core.request import use_one_class
from productagg.db.errors import driver_message
from productagg.db.startup_checks import UnusableDatabase
from productagg.ini import unknown_keys
from productagg.settings import Settings, SettingsError
from productagg.sync.background import Background
from productagg.sync.run import Synchronizer


def main(_global_config: object, **ini: str) -> Any:
    """The WSGI application, for `pserve`. A configuration that cannot be used ends the process with one line."""
    try:
        settings = Settings.load(ini)
        logs.configure(settings.log_format)
        for warning in unknown_keys(ini):
            logging.getLogger(__name__).warning(warning)
        config = Configurator(settings=ini)
        config.registry["settings"] = settings
        config.include("productagg.db.session")
        config.include("productagg.accounts.policy")
        config.include("productagg.api")
        sessions = config.registry["sessions"]
        config.registry["login_throttle"] = LoginThrottle(settings, sessions)
        config.registry["synchronizer"] = Synchronizer(settings, sessions)
        config.registry["background"] = Background(config.registry["synchronizer"])
        if settings.admin_password is not None:
            with sessions.begin() as session:
                users.add_first_admin(session, settings.admin_username, settings.admin_password.reveal())
    except (SettingsError, UnusableDatabase) as error:
        raise SystemExit("\n".join(f"productagg: {line}" for line in str(error).splitlines())) from None
    except DBAPIError as error:
        raise SystemExit(f"productagg: the database cannot be used: {driver_message(error)}") from None
    use_one_class(config)
    return config.make_wsgi_app()
