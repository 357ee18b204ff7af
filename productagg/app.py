"""The composition root of the web service: `pserve` and the tests make the WSGI application here."""

import logging

from pyramid.config import Configurator
from pyramid.router import Router
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import sessionmaker

from productagg import api, logs
from productagg.accounts import users
from productagg.accounts.access_tokens import AccessTokens
from productagg.accounts.login_throttle import LoginThrottle
from productagg.accounts.policy import SecurityPolicy
from productagg.api.core.cursors import Cursors
from productagg.api.core.request import use_one_class
from productagg.api.core.services import Services
from productagg.db.engines import reader_engine, writer_engine
from productagg.db.errors import driver_message
from productagg.db.readers import Engines, Readers, dispose_reader_with_writer
from productagg.db.startup_checks import UnusableDatabase, check_currency, check_database
from productagg.ini import unknown_keys
from productagg.settings import Settings, SettingsError
from productagg.sync.background import Background
from productagg.sync.run import Synchronizer
from productagg.sync.source_test import SourceTester


def main(_global_config: object, **ini: str) -> Router:
    """The WSGI application, for `pserve`. An unusable configuration ends the process with one line."""
    try:
        settings = Settings.load(ini)
        logs.configure(settings.log_format)
        for warning in unknown_keys(ini):
            logging.getLogger(__name__).warning(warning)
        services = make_services(settings)
        _add_first_admin(services)
    except (SettingsError, UnusableDatabase) as error:
        raise SystemExit("\n".join(f"productagg: {line}" for line in str(error).splitlines())) from None
    except DBAPIError as error:
        raise SystemExit(f"productagg: the database cannot be used: {driver_message(error)}") from None
    config = Configurator(settings=ini, security_policy=SecurityPolicy(services.access_tokens))
    config.registry.services = services
    config.include("productagg.api.core.transactions")
    config.include("productagg.accounts.policy")
    config.include("productagg.api")
    use_one_class(config)
    return config.make_wsgi_app()


def make_services(settings: Settings) -> Services:
    """The parts that requests share. Raises UnusableDatabase or DBAPIError if the database cannot be used."""
    engines = Engines(
        writer_engine(settings.database_url, prepared=settings.database_prepared),
        reader_engine(settings.database_url, prepared=settings.database_prepared),
    )
    check_database(engines.reader)
    check_currency(engines.reader, settings.currency)
    dispose_reader_with_writer(engines)
    sessions = sessionmaker(engines.writer)
    synchronizer = Synchronizer(settings, sessions)
    return Services(
        settings=settings,
        engines=engines,
        sessions=sessions,
        readers=Readers(engines.reader),
        access_tokens=AccessTokens(settings.jwt_secret, settings.jwt_lifetime_seconds),
        login_throttle=LoginThrottle(settings, sessions),
        cursors=Cursors(settings.jwt_secret),
        synchronizer=synchronizer,
        background=Background(synchronizer),
        source_tester=SourceTester(
            contact_url=settings.public_url, allow_private_networks=settings.sources_allow_private_networks
        ),
        openapi=api.contract,
    )


def _add_first_admin(services: Services) -> None:
    settings = services.settings
    if settings.admin_password is not None:
        with services.sessions.begin() as session:
            users.add_first_admin(session, settings.admin_username, settings.admin_password.reveal())
