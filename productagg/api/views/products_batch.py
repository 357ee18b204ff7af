"""/products/batch: create up to 1,000 products in one request, with as many SQL statements as for one
unless their texts are long.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict
from uuid import UUID

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import flag
from productagg.api.core.request import Request
from productagg.api.core.responses import dumps, respond
from productagg.api.core.service import service
from productagg.api.core.validators import CheckedItem, json_array, query
from productagg.api.openapi.response_schemas import OneOf
from productagg.api.openapi.schemas import CREATED, NOT_CREATED
from productagg.api.views.products import ProductBody, sync_after_commit
from productagg.catalog import batch_creation
from productagg.catalog.batch_creation import NewProduct
from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.schema_types import mapping

MAX_ITEMS = 1000
# Enough for as many products with names and descriptions of full size, of characters of four bytes in UTF-8.
MAX_BYTES = 40 * 1024 * 1024


class BatchQuery(TypedDict):
    atomic: bool


batch_query = query(
    mapping(flag("atomic", "Create all products, or none if any cannot be created.", missing=False)), BatchQuery
)
batch_body = json_array(NEW_PRODUCT, ProductBody, MAX_ITEMS, MAX_BYTES)

products_batch = service("products_batch", "/products/batch", "Catalogue")


@products_batch.post(
    permission=Permission.EDIT_CATALOGUE,
    validators=(batch_query, batch_body),
    answers=(
        Answer("All products were created.", [CREATED], 201),
        Answer("Some products, or all, were not created: `status` says which.", [OneOf((CREATED, NOT_CREATED))], 207),
    ),
    errors=(ErrorCode.DUPLICATE_NAME,),
)
def create_products(request: Request) -> Response:
    """Add up to 1,000 products: an answer for each, in the same order. With `atomic=true`, all products or none."""
    items = batch_body.value(request)
    outcomes = list(_outcomes(items, _create(request, items)))
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    if problems and batch_query.value(request)["atomic"]:
        raise _none_created(problems, len(items))
    body = dumps([_to_json(request, outcome) for outcome in outcomes])
    return respond(body, status=207 if problems else 201)


def _create(request: Request, items: Sequence[CheckedItem[ProductBody]]) -> list[UUID | None]:
    """The ids of the products of the items without faults; None for each whose name exists."""
    valid = [NewProduct(**item.values) for item in items if item.values is not None]
    created = batch_creation.create_many(request.dbsession, valid)
    sync_after_commit(request, [product_id for product_id in created if product_id is not None])
    return created


def _outcomes(items: Sequence[CheckedItem[ProductBody]], created: Sequence[UUID | None]) -> Iterator[UUID | Problem]:
    """The id of each item's product, or its problem. `created` is about the items without faults."""
    ids = iter(created)
    for number, item in enumerate(items):
        if item.values is None:
            yield Problem(ErrorCode.INVALID_DATA, "This product is not valid.", errors=item.faults)
        else:
            yield next(ids) or _duplicate(number, item.values["name"])


def _to_json(request: Request, outcome: UUID | Problem) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        return {"status": outcome.code.status, "problem": outcome.body()}
    return {"status": 201, "id": outcome, "location": request.route_url("product", id=outcome)}


def _duplicate(number: int, name: str) -> Problem:
    errors = [{"pointer": f"/{number}/name", "detail": "is not unique"}]
    return Problem(ErrorCode.DUPLICATE_NAME, f"There is already a product named {name!r}.", errors=errors)


def _none_created(problems: Sequence[Problem], count: int) -> Problem:
    """The Problem of the whole batch. Raised, so that the products that could be created are rolled back."""
    only_names = all(problem.code == ErrorCode.DUPLICATE_NAME for problem in problems)
    return Problem(
        ErrorCode.DUPLICATE_NAME if only_names else ErrorCode.INVALID_DATA,
        f"{len(problems)} of the {count} products cannot be created, so none was.",
        errors=[fault for problem in problems for fault in problem.errors],
    )
