"""/problems/{code}: the explanation that the `type` of an error answer refers to."""

from pyramid.response import Response

from productagg.api.core.answers import public
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import parameter
from productagg.api.core.request import Request
from productagg.api.core.responses import json_response, public_cache_control
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import no_query
from productagg.api.openapi.schemas import EXPLANATION

_CODE = parameter(
    "code", str, "a code", {"type": "string", "enum": list(ErrorCode)}, "The code of an error.", example="not-found"
)

problem = service("problem", "/problems/{code}", "About", _CODE)


@problem.get(
    permission=PUBLIC,
    validators=(no_query,),
    answers=public("The explanation.", EXPLANATION),
    errors=(ErrorCode.NOT_FOUND,),
)
def explain_problem(request: Request) -> Response:
    """What an error code means and what to do about it."""
    code = next((code for code in ErrorCode if code == request.matchdict["code"]), None)
    if code is None:
        raise Problem(ErrorCode.NOT_FOUND, "There is no such error code.")
    explanation = {"code": code, "status": code.status, "title": code.problem_title, "advice": code.advice}
    return json_response(explanation, cache_control=public_cache_control(request))
