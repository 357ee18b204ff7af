"""Runs the migrations for `alembic -c development.ini …`, on the database that the service would use."""

import re
import sqlite3
from typing import Any, Literal

from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

from alembic import context
from productagg import ini
from productagg.db.engines import SCHEMA, writer_engine
from productagg.db.errors import driver_message, is_unavailable
from productagg.db.models import Base, UtcDateTime
from productagg.db.startup_checks import UnusableDatabase, check_encoding
from productagg.settings import Settings, SettingsError

# An arbitrary number that all migrations of productagg share: two releases that start concurrently migrate in turn.
_ADVISORY_LOCK = 7_306_544

_PREPEND_SCHEMA = text(
    "SELECT set_config('search_path', concat_ws(', ', :schema, nullif(current_setting('search_path'), '')), true)"
)
_PARTITION = re.compile(r"(offer|product)_prices_(default|\d{4}_\d{2})")


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    # A migration must not depend on our types, which may change after it was written.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def _has_model(name: str | None, kind: str, _parents: Any) -> bool:
    # No model describes Alembic's own table or the monthly partitions, which `productagg history compact` manages.
    return kind != "table" or name is None or not (name == "alembic_version" or _PARTITION.fullmatch(name))


def _is_on(dialect: str) -> Any:
    # Some indexes of the models exist on one kind of database only.
    return lambda item, _name, kind, _reflected, _other: kind != "index" or item.info.get("only", dialect) == dialect


def _switch_off_foreign_keys(connection: sqlite3.Connection, _record: object) -> None:
    # A batch migration drops and re-creates a table: with foreign keys on, the drop would delete rows of other tables.
    connection.execute("PRAGMA foreign_keys = OFF")


def run() -> None:
    try:
        settings = Settings.load(ini.app_settings(context.config.config_file_name or ""))
    except SettingsError as error:
        raise CommandError(str(error)) from None
    if context.is_offline_mode():
        raise CommandError("--sql does not work here: migrations read the rows that they change")
    # For the migration that gives the stored prices their currencies.
    context.config.attributes["currency"] = settings.currency
    context.config.attributes["offers_currency"] = settings.offers_currency or settings.currency
    engine = writer_engine(settings.database_url, prepared=settings.database_prepared)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _switch_off_foreign_keys)
    try:
        with engine.begin() as connection:
            _migrate(connection)
    except UnusableDatabase as error:
        raise CommandError(str(error)) from None
    except DBAPIError as error:
        if not is_unavailable(error):
            raise
        raise CommandError(f"the database cannot be used: {driver_message(error)}") from None
    finally:
        engine.dispose()


def _migrate(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        _prepare_postgresql(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table_schema=None if is_sqlite else SCHEMA,
        render_as_batch=is_sqlite,
        render_item=_render_item,
        include_name=_has_model,
        include_object=_is_on(connection.dialect.name),
        compare_server_default=True,
    )
    context.run_migrations()
    if is_sqlite and (orphans := connection.execute(text("PRAGMA foreign_key_check")).all()):
        raise CommandError(f"the migration would leave rows without their parents: {orphans[:5]}")


def _prepare_postgresql(connection: Connection) -> None:
    """Take the advisory lock and set the transaction's settings."""
    # A migration may take long, and so may the wait for another release's migrations. Waits for tables stay limited.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    lock_timeout = connection.scalar(text("SELECT current_setting('lock_timeout')"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": lock_timeout})
    # For SQL that a migration writes itself, without schemas. Extensions may be in another schema.
    connection.execute(_PREPEND_SCHEMA, {"schema": SCHEMA})
    check_encoding(connection)


run()
