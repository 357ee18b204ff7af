"""Whether productagg can work with the database: checked at every start and by /health/ready.

The message of an error is one line that says what to do. Only `try_to_write` writes.
"""

import os

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from productagg.db.engines import MAY_PREPARE, SCHEMA
from productagg.db.models import SCHEMA_REVISION, Base, Catalogue, UpstreamToken

# How often two connections are asked which server process serves them: once if the first connection is served by the
# process that authenticated it, because a pooler would hide that process.
_ROUNDS_WITH_A_SERVER, _ROUNDS_WITH_A_POOLER = 1, 8
_BACKEND_PID = select(func.pg_backend_pid())
# More than fits into the free space of the pages in use.
_PROBE_BYTES = 64 * 1024

_TABLES_WITHOUT_RIGHTS = text(
    "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class"
    " WHERE relnamespace = to_regnamespace(:schema) AND relname = ANY (:tables) AND NOT (has_table_privilege(oid,"
    " 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')"
    " AND has_table_privilege(oid, 'DELETE'))"
)


class UnusableDatabase(Exception):
    """productagg cannot work with the database as it is. The message says why, and what to do."""


class SchemaError(UnusableDatabase):
    """The database's schema is not the one that this version of productagg needs."""


def check_database(engine: Engine) -> None:
    """Check what every program relies on. Raises UnusableDatabase, SchemaError and DBAPIError."""
    try:
        with engine.connect() as connection:
            check_encoding(connection)
            check_schema(connection)
    except OperationalError as error:
        if "unsupported startup parameter" not in str(error.orig):
            raise
        raise UnusableDatabase(
            "a pooler in front of the database refuses the start-up parameter 'options': set DATABASE_PREPARED=false, "
            "without options in DATABASE_URL; if the pooler's pool_mode is session, you can instead set its "
            "ignore_startup_parameters = options"
        ) from None
    if engine.dialect.name == "postgresql":
        _check_pooling(engine)


def check_currency(engine: Engine, currency: str) -> None:
    """Raise UnusableDatabase if the stored summaries and histories are in another currency."""
    with engine.connect() as connection:
        stored = connection.execute(select(Catalogue.currency)).scalar_one()
    if stored != currency:
        raise UnusableDatabase(
            f"the catalogue's prices are in {stored}, but CURRENCY is {currency}: set CURRENCY={stored}, or use a new "
            "database"
        )


def check_encoding(connection: Connection) -> None:
    """Raise UnusableDatabase unless the encoding is UTF8: others lack characters, or (SQL_ASCII) check none."""
    if connection.dialect.name == "postgresql":
        encoding = connection.execute(select(func.current_setting("server_encoding"))).scalar_one()
        if encoding != "UTF8":
            raise UnusableDatabase(
                f"the database's encoding is {encoding} and must be UTF8: create it with ENCODING 'UTF8'"
            )


def check_schema(connection: Connection) -> None:
    """Raise SchemaError unless the database is at the revision that this code needs."""
    schema = SCHEMA if connection.dialect.name == "postgresql" else None
    revision = None
    if inspect(connection).has_table("alembic_version", schema):
        table = f"{schema}.alembic_version" if schema else "alembic_version"
        revision = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()  # noqa: S608
    if revision != SCHEMA_REVISION:
        raise SchemaError(
            f"the database is at revision {revision or 'none'}, this version of productagg needs {SCHEMA_REVISION}: "
            "run 'alembic -c CONFIG_URI upgrade head' (with the ini file that you start the service with)"
        )


def check_writable(connection: Connection) -> None:
    """Raise UnusableDatabase if it is a standby or otherwise read-only, or if our user lacks rights to a table."""
    if connection.dialect.name != "postgresql":
        return
    if connection.execute(select(func.current_setting("transaction_read_only"))).scalar_one() == "on":
        raise UnusableDatabase("the database is read-only")
    parameters = {"schema": SCHEMA, "tables": list(Base.metadata.tables)}
    if tables := connection.execute(_TABLES_WITHOUT_RIGHTS, parameters).scalar():
        raise UnusableDatabase(f"the database's user lacks rights to: {tables}")


def try_to_write(session: Session) -> None:
    """Write enough to need new disk space, and remove it. The caller commits. Raises DBAPIError."""
    account = f"room-{os.urandom(8).hex()}"
    session.execute(insert(UpstreamToken).values(account=account, access_token=os.urandom(_PROBE_BYTES // 2).hex()))
    session.execute(delete(UpstreamToken).where(UpstreamToken.account == account))


def _check_pooling(engine: Engine) -> None:
    """Raise UnusableDatabase if statements may be prepared, but a pooler shares server connections."""
    with engine.connect() as connection:
        if MAY_PREPARE not in connection.connection.info:
            return
        if _is_shared(connection, engine):
            raise UnusableDatabase(
                "DATABASE_PREPARED is true, but a pooler in transaction mode is in front of the database, where "
                "prepared statements reach the wrong connection: set DATABASE_PREPARED=false, or the pooler's "
                "pool_mode to session"
            )


def _is_shared(first: Connection, engine: Engine) -> bool:
    """Whether a pooler gives a connection another server process for each transaction.

    Without such a pooler, two open connections have two server processes, and each connection keeps its process.
    """
    driver_connection = first.connection.driver_connection
    assert driver_connection is not None
    first_pid = _server_process(first)
    is_direct = driver_connection.info.backend_pid == first_pid
    with engine.connect() as second:
        second_pid = _server_process(second)
        if first_pid == second_pid:
            return True
        expected = [(first, first_pid), (first, first_pid), (second, second_pid), (second, second_pid)]
        rounds = _ROUNDS_WITH_A_SERVER if is_direct else _ROUNDS_WITH_A_POOLER
        return any(_server_process(connection) != pid for connection, pid in expected * rounds)


def _server_process(connection: Connection) -> int:
    """Return the id of the server process that serves a new transaction of the connection."""
    pid: int = connection.execute(_BACKEND_PID).scalar_one()
    connection.rollback()
    return pid
