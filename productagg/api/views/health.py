"""/health: for load balancers and container engines."""

from pyramid.response import Response
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.exception_views import RETRY_AFTER_SECONDS
from productagg.api.core.request import Request
from productagg.api.core.responses import dumps, respond
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.services import Services
from productagg.api.core.validators import no_query
from productagg.api.openapi.schemas import LIVE, READY
from productagg.db.startup_checks import SchemaError, UnusableDatabase, check_schema, check_writable, try_to_write

live = service("live", "/health/live", "Health")
ready = service("ready", "/health/ready", "Health")


@live.get(permission=PUBLIC, validators=(no_query,), answers=(Answer("The process is alive.", LIVE),))
def is_live(_request: Request) -> Response:
    """The process answers."""
    return respond(dumps({"status": "live"}))


@ready.get(permission=PUBLIC, validators=(no_query,), answers=(Answer("The service is ready.", READY),))
def is_ready(request: Request) -> Response:
    """The process is not stopping, and the database is reachable, has this version's tables and accepts writes."""
    if request.services.readiness.is_ending:
        raise _not_ready("process: it is stopping")
    try:
        _check_database(request)
    except SchemaError as error:
        raise _not_ready(f"schema: {error}") from None
    except UnusableDatabase as error:
        raise _not_ready(f"database: {error}") from None
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _not_ready(f"database: it cannot be used ({type(cause).__name__})") from None
    return respond(dumps({"status": "ready", "database": "ok", "schema": "ok"}))


def _check_database(request: Request) -> None:
    services = request.services
    check_schema(request.reader)
    try:
        check_writable(request.reader)
    except UnusableDatabase:
        _check_new_primary(services)
    if services.readiness.writes_fail:
        with services.sessions.begin() as session:
            try_to_write(session)
        services.readiness.writes_fail = False


def _check_new_primary(services: Services) -> None:
    """Check on new connections: after a fail-over, the old ones lead to a server that no longer accepts writes."""
    services.engines.dispose()
    with services.engines.reader.connect() as connection:
        check_writable(connection)


def _not_ready(why: str) -> Problem:
    return Problem(ErrorCode.UNAVAILABLE, why, headers={"Retry-After": RETRY_AFTER_SECONDS})
