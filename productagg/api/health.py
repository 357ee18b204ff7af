"""/health: for load balancers and container engines."""

from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from productagg.api.contract import LIVE, READY, Answer
from productagg.api.errors import Problem
from productagg.api.service import PUBLIC, no_query, service
from productagg.db import SchemaError, check_schema

live = service("live", "/health/live", "Health")
ready = service("ready", "/health/ready", "Health")


@live.get(permission=PUBLIC, validators=(no_query,), answers=(Answer("It does.", LIVE),))
def is_live(_request: Any) -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@ready.get(permission=PUBLIC, validators=(no_query,), answers=(Answer("They are.", READY),))
def is_ready(request: Any) -> dict[str, str]:
    """The database can be reached and has the tables that this version needs, and the process is not told to end."""
    if request.registry.get("ending"):
        raise Problem("unavailable", "process: it ends")
    try:
        check_schema(request.reader)
    except SchemaError as error:
        raise Problem("unavailable", f"schema: {error}") from None
    except SQLAlchemyError as error:
        raise Problem("unavailable", f"database: it cannot be reached ({type(error).__name__})") from None
    return {"status": "ready", "database": "ok", "schema": "ok"}
