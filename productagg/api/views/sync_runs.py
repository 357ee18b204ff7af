"""/sync-runs and /sync-runs/{id}: what each pass did. For admins."""

from typing import Any
from uuid import UUID

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.errors import Problem
from productagg.api.core.pagination import page_headers
from productagg.api.core.schemas import RUN_ID, RUNS, uuid
from productagg.api.core.service import no_query, private_json, query, service
from productagg.api.openapi.answers import RUN, tagged
from productagg.sync import run_log

sync_runs = service("sync_runs", "/sync-runs", "Sync")
sync_run = service("sync_run", "/sync-runs/{id}", "Sync", RUN_ID)


@sync_runs.get(
    permission=Permission.SEE_SYNC,
    validators=(query(RUNS),),
    answers=tagged("A page of passes.", [RUN], "Cache-Control", "Vary", "Next-Cursor?", "Link?"),
    errors=("invalid-cursor",),
)
def list_runs(request: Any) -> Response:
    """The passes, newest first, a page at a time. `Next-Cursor` leads to the next page."""
    cursor = request.validated["cursor"]
    before = None if cursor is None else _run_id(cursor)
    if cursor is not None and before is None:
        raise Problem("invalid-cursor", "This cursor was not issued by this service.")
    page = run_log.page(request.reader, request.validated["limit"], _budget(request), before)
    following = None if page.following is None else str(page.following)
    return private_json(page.runs, page_headers(request, following))


@sync_run.get(
    permission=Permission.SEE_SYNC,
    validators=(no_query,),
    answers=tagged("The pass.", RUN, "Cache-Control", "Vary"),
    errors=("not-found",),
)
def read_run(request: Any) -> Response:
    """One pass."""
    wanted = _run_id(request.matchdict["id"])
    found = None if wanted is None else run_log.get(request.reader, wanted, _budget(request))
    if found is None:
        raise Problem("not-found", f"There is no sync run {request.matchdict['id']}.")
    return private_json(found)


def _run_id(text: str) -> UUID | None:
    try:
        return uuid(text)
    except ValueError:
        return None


def _budget(request: Any) -> float:
    budget: float = request.registry["settings"].sync_budget_seconds
    return budget
