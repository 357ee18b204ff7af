"""/problems/{code}: what the `type` of an error answer refers to."""

from typing import Any

from pyramid.response import Response

from productagg.api.core.errors import PROBLEMS, Problem
from productagg.api.core.schemas import PROBLEM_CODE
from productagg.api.core.service import PUBLIC, no_query, public_json, service
from productagg.api.openapi.answers import EXPLANATION, public

problem = service("problem", "/problems/{code}", "About", PROBLEM_CODE)


@problem.get(
    permission=PUBLIC,
    validators=(no_query,),
    answers=public("The explanation.", EXPLANATION),
    errors=("not-found",),
)
def explain_problem(request: Any) -> Response:
    """What an error code means and what to do about it."""
    code = request.matchdict["code"]
    if code not in PROBLEMS:
        raise Problem("not-found", "There is no such problem.")
    status, title, advice = PROBLEMS[code]
    return public_json(request, {"code": code, "status": status, "title": title, "advice": advice})
