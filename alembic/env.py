"""Runs the migrations, for `alembic -c development.ini …`. The database is the one that the service would use."""

import re
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

# Any number; all productagg migrations share it, so that two releases starting at once migrate one after the other.
_ADVISORY_LOCK = 7_306_544

_SCHEMA_FIRST = text(
    "SELECT set_config('search_path', concat_ws(', ', :schema, nullif(current_setting('search_path'), '')), true)"
)
_PARTITION = re.compile(r"(offer|product)_prices_(default|\d{4}_\d{2})")


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    # A migration stands alone: it names no type of ours, which may change after it was written.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    # The models have neither the monthly partitions, which `productagg history compact` makes and drops, nor Alembic's
    # own table.
    return kind != "table" or name is None or not (name == "alembic_version" or _PARTITION.fullmatch(name))


def _has_it(here: str) -> Any:
    # Some indexes of the models are for one kind of database only.
    return lambda item, _name, kind, _reflected, _other: kind != "index" or item.info.get("only", here) == here


def _keep_children(connection: Any, _record: Any) -> None:
    # A batch migration drops and re-creates the table: with foreign keys on, its children's rows would go with it.
    connection.execute("PRAGMA foreign_keys = OFF")


def run() -> None:
    try:
        settings = Settings.load(ini.app_settings(context.config.config_file_name or ""))
    except SettingsError as error:
        raise CommandError(str(error)) from None
    if context.is_offline_mode():
        raise CommandError("--sql does not work here: migrations read the rows that they change")
    engine = writer_engine(settings.database_url, prepared=settings.database_prepared)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _keep_children)
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
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        # Another release's migrations may take their time; a table's lock is waited for as long as always.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        lock_timeout = connection.scalar(text("SELECT current_setting('lock_timeout')"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        connection.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": lock_timeout})
        # For the names in statements that migrations write themselves; extensions may be in another schema.
        connection.execute(_SCHEMA_FIRST, {"schema": SCHEMA})
        check_encoding(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table_schema=None if sqlite else SCHEMA,
        render_as_batch=sqlite,
        render_item=_render_item,
        include_name=_is_ours,
        include_object=_has_it(connection.dialect.name),
        compare_server_default=True,
    )
    context.run_migrations()
    if sqlite and (orphans := connection.execute(text("PRAGMA foreign_key_check")).all()):
        raise CommandError(f"the migration would leave rows without their parents: {orphans[:5]}")


run()
