"""/health: for load balancers and container engines."""

from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from productagg.api.core.errors import RETRY_AFTER_SECONDS, Problem
from productagg.api.core.service import PUBLIC, no_query, service
from productagg.api.openapi.answers import LIVE, READY, Answer
from productagg.db.startup_checks import SchemaError, UnusableDatabase, check_schema, check_writable, try_to_write

live = service("live", "/health/live", "Health")
ready = service("ready", "/health/ready", "Health")


@live.get(permission=PUBLIC, validators=(no_query,), answers=(Answer("It does.", LIVE),))
def is_live(_request: Any) -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@ready.get(permission=PUBLIC, validators=(no_query,), answers=(Answer("They are.", READY),))
def is_ready(request: Any) -> dict[str, str]:
    """The process is not ending, and the database can be reached, has this version's tables and takes writes."""
    registry = request.registry
    if registry.get("ending"):
        raise _unready("process: it is ending")
    try:
        check_schema(request.reader)
        _check_writable(request)
        if registry["writes_fail"]:
            with registry["sessions"].begin() as session:
                try_to_write(session)
            registry["writes_fail"] = False
    except SchemaError as error:
        raise _unready(f"schema: {error}") from None
    except UnusableDatabase as error:
        raise _unready(f"database: {error}") from None
    except SQLAlchemyError as error:
        kind = error.orig if isinstance(error, DBAPIError) else error
        raise _unready(f"database: it cannot be used ({type(kind).__name__})") from None
    return {"status": "ready", "database": "ok", "schema": "ok"}


def _check_writable(request: Any) -> None:
    try:
        check_writable(request.reader)
    except UnusableDatabase:
        # That connection may be of a time before: the server that takes writes may be another one now.
        for engine in request.registry["engines"]:
            engine.dispose()
        _, reader = request.registry["engines"]
        with reader.connect() as connection:
            check_writable(connection)


def _unready(why: str) -> Problem:
    return Problem("unavailable", why, headers={"Retry-After": RETRY_AFTER_SECONDS})
