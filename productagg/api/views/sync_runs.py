"""/sync-runs and /sync-runs/{id}: what each sync run did, in all and at each source. For admins."""

from typing import TypedDict
from uuid import UUID

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import tagged
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import cursor, limit, uuid_parameter
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import PRIVATE, json_response
from productagg.api.core.service import service
from productagg.api.core.validators import no_query, path_uuid, query
from productagg.api.openapi.schemas import RUN
from productagg.schema_types import mapping, uuid
from productagg.sync import run_log

_RUN_ID = uuid_parameter("id", "a sync run's", "The sync run's id.", example="019aa3f8-1b2c-7a90-8f3d-4e5a6b7c8d90")


class RunsQuery(TypedDict):
    limit: int
    cursor: str | None


def _no_such_run(run_id: object) -> Problem:
    return Problem(ErrorCode.NOT_FOUND, f"There is no sync run {run_id}.")


runs_query = query(mapping(limit(), cursor("It does not expire.")), RunsQuery)
run_in_path = path_uuid("id", _no_such_run, ErrorCode.NOT_FOUND)

sync_runs = service("sync_runs", "/sync-runs", "Sync")
sync_run = service("sync_run", "/sync-runs/{id}", "Sync", _RUN_ID)


@sync_runs.get(
    permission=Permission.SEE_SYNC,
    validators=(runs_query,),
    answers=tagged("A page of sync runs.", [RUN], "Cache-Control", "Vary", "Next-Cursor?", "Link?"),
    errors=(ErrorCode.INVALID_CURSOR,),
)
def list_runs(request: Request) -> Response:
    """The sync runs, newest first, a page at a time. `Next-Cursor` leads to the next page."""
    parameters = runs_query.value(request)
    before = None if parameters["cursor"] is None else _read_cursor(parameters["cursor"])
    page = run_log.page(request.reader, parameters["limit"], before)
    headers = page_headers(request, None if page.following is None else str(page.following))
    return json_response(
        page.runs,
        tagged_by=headers.values(),
        headers={**headers, "Vary": "Authorization"},
        cache_control=PRIVATE,
    )


@sync_run.get(
    permission=Permission.SEE_SYNC,
    validators=(no_query, run_in_path),
    answers=tagged("The sync run.", RUN, "Cache-Control", "Vary"),
)
def read_run(request: Request) -> Response:
    """One sync run."""
    run_id = run_in_path.value(request)
    run = run_log.get(request.reader, run_id)
    if run is None:
        raise _no_such_run(run_id)
    return json_response(run, headers={"Vary": "Authorization"}, cache_control=PRIVATE)


def _read_cursor(cursor: str) -> UUID:
    try:
        return uuid(cursor)
    except ValueError:
        raise Problem(ErrorCode.INVALID_CURSOR, "This cursor was not issued by this service.") from None
