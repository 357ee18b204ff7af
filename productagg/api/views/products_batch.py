"""/products/batch: many products in one request, created with as many statements as one unless their texts are long."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.errors import Problem
from productagg.api.core.schemas import BATCH, NEW_PRODUCT
from productagg.api.core.service import JSON, dumps, json_array, query, service
from productagg.api.openapi.answers import CREATED, NOT_CREATED, Answer
from productagg.api.openapi.response_schemas import OneOf
from productagg.api.views.products import sync_after_commit
from productagg.catalog import batch_creation
from productagg.catalog.batch_creation import NewProduct

MAX_ITEMS = 1000
# So many of full size: characters of four bytes each in UTF-8, and what is around them.
MAX_BYTES = 40 * 1024 * 1024

products_batch = service("products_batch", "/products/batch", "Catalogue")


@products_batch.post(
    permission=Permission.EDIT_CATALOGUE,
    validators=(query(BATCH), json_array(NEW_PRODUCT, MAX_ITEMS, MAX_BYTES)),
    answers=(
        Answer("All of them were created.", [CREATED], 201),
        Answer("Some of them, or all, were not created: `status` says which.", [OneOf((CREATED, NOT_CREATED))], 207),
    ),
    errors=("duplicate-name",),
)
def create_products(request: Any) -> Response:
    """Add up to 1,000 products: an answer for each, in the same order. With `atomic=true`, all of them or none."""
    items = request.validated["items"]
    new = [NewProduct(**values) for values, faults in items if not faults]
    created = batch_creation.create_many(request.dbsession, new)
    sync_after_commit(request, [each for each in created if each is not None])
    outcomes = iter(created)
    answers = [
        _problem(faults) if faults else next(outcomes) or _duplicate(number, values["name"])
        for number, (values, faults) in enumerate(items)
    ]
    problems = [each for each in answers if isinstance(each, Problem)]
    if problems and request.validated["atomic"]:
        raise _all_of(problems, len(items))
    body = dumps([_shown(request, each) for each in answers])
    return Response(body, status=207 if problems else 201, content_type=JSON, charset=None)


def _shown(request: Any, answer: UUID | Problem) -> dict[str, Any]:
    if isinstance(answer, Problem):
        return {"status": answer.status, "problem": answer.body()}
    return {"status": 201, "id": answer, "location": request.route_url("product", id=answer)}


def _problem(faults: Sequence[dict[str, str]]) -> Problem:
    return Problem("invalid-data", "This product is not valid.", errors=faults)


def _duplicate(number: int, name: str) -> Problem:
    detail = f"There is a product named {name!r} already."
    return Problem("duplicate-name", detail, errors=[{"pointer": f"/{number}/name", "detail": "is not unique"}])


def _all_of(problems: Sequence[Problem], count: int) -> Problem:
    """Why none of them is created: raised, so that it rolls back those that could have been."""
    only_names = all(each.code == "duplicate-name" for each in problems)
    return Problem(
        "duplicate-name" if only_names else "invalid-data",
        f"{len(problems)} of the {count} products cannot be created, so none was.",
        errors=[fault for each in problems for fault in each.errors],
    )
