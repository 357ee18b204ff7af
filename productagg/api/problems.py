"""/problems/{code}: what the `type` of an error answer refers to."""

from typing import Any

from productagg.api.contract import EXPLANATION, Answer
from productagg.api.errors import PROBLEMS, Problem
from productagg.api.schemas import PROBLEM_CODE
from productagg.api.service import PUBLIC, no_query, service

problem = service("problem", "/problems/{code}", "About", PROBLEM_CODE)


@problem.get(
    permission=PUBLIC,
    validators=(no_query,),
    answers=(Answer("The explanation.", EXPLANATION),),
    errors=("not-found",),
)
def explain_problem(request: Any) -> dict[str, Any]:
    """What an error code means and what to do about it."""
    code = request.matchdict["code"]
    if code not in PROBLEMS:
        raise Problem("not-found", "There is no such problem.")
    status, title, advice = PROBLEMS[code]
    return {"code": code, "status": status, "title": title, "advice": advice}
