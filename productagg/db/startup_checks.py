"""Whether the database is one that productagg can work with: asked at every start, and by /health/ready.

What is wrong is one line that says what to do. Only `try_to_write` writes.
"""

import os

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from productagg.db.engines import MAY_PREPARE, SCHEMA
from productagg.db.models import SCHEMA_REVISION, Base, UpstreamToken

# How often two connections are asked which server process serves them: once if the first one's is the process that let
# it in, which a pooler would hide.
_LOOKS_AT_A_SERVER, _LOOKS_AT_A_POOLER = 1, 8
_ASK_PID = select(func.pg_backend_pid())
# More than what is free on the pages in use.
_PROBE_BYTES = 64 * 1024

_WITHOUT_RIGHTS = text(
    "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class"
    " WHERE relnamespace = to_regnamespace(:schema) AND relname = ANY (:tables) AND NOT (has_table_privilege(oid,"
    " 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')"
    " AND has_table_privilege(oid, 'DELETE'))"
)


class Unfit(Exception):
    """productagg cannot work with the database as it is; the message says why, and what to do."""


class SchemaError(Unfit):
    """The database does not have the tables that this version of productagg works with."""


def check(engine: Engine) -> None:
    """What every program looks at before it does anything. Raises Unfit, SchemaError, and DBAPIError."""
    try:
        with engine.connect() as connection:
            check_encoding(connection)
            check_schema(connection)
    except OperationalError as error:
        if "unsupported startup parameter" not in str(error.orig):
            raise
        raise Unfit(
            "a pooler is in front of the database and refuses the start-up parameter 'options': set "
            "DATABASE_PREPARED=false, without options in DATABASE_URL; if the pooler's pool_mode is session, "
            "ignore_startup_parameters = options will do as well"
        ) from None
    if engine.dialect.name == "postgresql":
        _check_pooling(engine)


def check_encoding(connection: Connection) -> None:
    """Raise Unfit if the database cannot keep every character, or does not know which characters it keeps."""
    if connection.dialect.name == "postgresql":
        encoding = connection.execute(select(func.current_setting("server_encoding"))).scalar_one()
        if encoding != "UTF8":
            raise Unfit(f"the database's encoding is {encoding}, and must be UTF8: create it with ENCODING 'UTF8'")


def check_schema(connection: Connection) -> None:
    """Raise SchemaError unless the database is at the revision that this code was written for."""
    schema = SCHEMA if connection.dialect.name == "postgresql" else None
    found = None
    if inspect(connection).has_table("alembic_version", schema):
        table = f"{schema}.alembic_version" if schema else "alembic_version"
        found = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()  # noqa: S608
    if found != SCHEMA_REVISION:
        raise SchemaError(
            f"the database is at revision {found or 'none'}, this version of productagg needs {SCHEMA_REVISION}: "
            "run 'alembic -c CONFIG_URI upgrade head' (with the ini file that you start the service with)"
        )


def check_writable(connection: Connection) -> None:
    """Raise Unfit if the database takes no writes from us: a standby, a read-only setting, rights that were revoked."""
    if connection.dialect.name != "postgresql":
        return
    if connection.execute(select(func.current_setting("transaction_read_only"))).scalar_one() == "on":
        raise Unfit("the database is read-only")
    tables = {"schema": SCHEMA, "tables": list(Base.metadata.tables)}
    if without := connection.execute(_WITHOUT_RIGHTS, tables).scalar():
        raise Unfit(f"the database's user lacks rights to: {without}")


def try_to_write(session: Session) -> None:
    """Write as much as needs room on the disk, and remove it; for a caller that commits. Raises DBAPIError."""
    account = f"room-{os.urandom(8).hex()}"
    session.execute(insert(UpstreamToken).values(account=account, access_token=os.urandom(_PROBE_BYTES // 2).hex()))
    session.execute(delete(UpstreamToken).where(UpstreamToken.account == account))


def _check_pooling(engine: Engine) -> None:
    """Raise Unfit if statements may be prepared, and a pooler gives each transaction another server connection.

    Two connections that are open at the same time have two server processes, each always the same one. Whoever sees
    another one, or the same one twice, shares them.
    """
    with engine.connect() as one:
        if MAY_PREPARE not in one.connection.info:
            return
        driver = one.connection.driver_connection
        assert driver is not None
        first = _server_process(one)
        looks = _LOOKS_AT_A_SERVER if driver.info.backend_pid == first else _LOOKS_AT_A_POOLER
        with engine.connect() as other:
            second = _server_process(other)
            expected = [(one, first), (one, first), (other, second), (other, second)] * looks
            if first == second or any(_server_process(connection) != pid for connection, pid in expected):
                raise Unfit(
                    "DATABASE_PREPARED is true, but a pooler in transaction mode is in front of the database, where "
                    "prepared statements reach the wrong connection: set DATABASE_PREPARED=false, or the pooler's "
                    "pool_mode to session"
                )


def _server_process(connection: Connection) -> int:
    """Which process of the server serves a transaction."""
    pid: int = connection.execute(_ASK_PID).scalar_one()
    connection.rollback()
    return pid
