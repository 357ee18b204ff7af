"""productagg: a product aggregator. `main` is the composition root of the web service."""

import logging
import warnings
from typing import Any

# Cornice 6.1 imports pkg_resources, which warns that setuptools 82 drops it; setup.cfg holds setuptools below that.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)


def main(_global_config: object, **ini: str) -> Any:
    """The WSGI application, for `pserve`. A configuration that cannot be used ends the process with one line."""
    # Imported here: the command line and the migrations need no web framework.
    from pyramid.config import Configurator
    from sqlalchemy.exc import DBAPIError

    from productagg import accounts, logs
    from productagg.api.request import use_one_class
    from productagg.background import Background
    from productagg.db import reason
    from productagg.dbcheck import Unfit
    from productagg.ini import unknown_keys
    from productagg.settings import Settings, SettingsError
    from productagg.sync import Synchronizer
    from productagg.throttle import LoginThrottle

    try:
        settings = Settings.load(ini)
        logs.configure(settings.log_format)
        for warning in unknown_keys(ini):
            logging.getLogger(__name__).warning(warning)
        config = Configurator(settings=ini)
        config.registry["settings"] = settings
        config.include("productagg.dbsession")
        config.include("productagg.security")
        config.include("productagg.api")
        sessions = config.registry["sessions"]
        config.registry["login_throttle"] = LoginThrottle(settings, sessions)
        config.registry["synchronizer"] = Synchronizer(settings, sessions)
        config.registry["background"] = Background(config.registry["synchronizer"])
        if settings.admin_password is not None:
            with sessions.begin() as session:
                accounts.add_first_admin(session, settings.admin_username, settings.admin_password.reveal())
    except (SettingsError, Unfit) as error:
        raise SystemExit("\n".join(f"productagg: {line}" for line in str(error).splitlines())) from None
    except DBAPIError as error:
        raise SystemExit(f"productagg: the database cannot be used: {reason(error)}") from None
    use_one_class(config)
    return config.make_wsgi_app()
