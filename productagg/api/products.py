"""/products and /products/{id}: the catalogue."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pyramid.response import Response
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from productagg import catalog, offers, runs
from productagg.api.contract import LISTED_PRODUCT, PRODUCT, Answer, tagged
from productagg.api.schemas import NEW_PRODUCT, PAGE, PRODUCT_CHANGE, PRODUCT_ID
from productagg.api.service import (
    JSON,
    MERGE_PATCH,
    PUBLIC,
    if_match,
    json_body,
    no_query,
    product_id,
    query,
    service,
    tagged_json,
)
from productagg.credentials import account_key
from productagg.security import Permission

products = service("products", "/products", "Catalogue")
product = service("product", "/products/{id}", "Catalogue", PRODUCT_ID)


@products.get(
    permission=PUBLIC,
    validators=(query(PAGE),),
    answers=(Answer("A page of products, without their offers.", [LISTED_PRODUCT], headers=("Total-Count", "Link?")),),
)
def list_products(request: Any) -> list[dict[str, Any]]:
    """The catalogue, oldest first, a page at a time; `Link` names the next page, `Total-Count` counts all products."""
    limit = request.validated["limit"]
    page = catalog.page(request.reader, limit, request.validated["after"])
    request.response.headers["Total-Count"] = str(page.total)
    if page.following is not None:
        following = request.route_url("products", _query={"limit": limit, "after": page.following})
        request.response.headers["Link"] = f'<{following}>; rel="next"'
    return [dict(row) for row in page.products]


@products.post(
    permission=Permission.EDIT_CATALOGUE,
    validators=(no_query, json_body(NEW_PRODUCT)),
    answers=(
        Answer(
            "The product, which has no offers yet.",
            PRODUCT,
            201,
            headers=("Location", "ETag"),
            links={PRODUCT_ID: "$response.body#/id"},
        ),
    ),
    errors=("duplicate-name",),
)
def create_product(request: Any) -> Response:
    """Add a product. After the commit, and outside the transaction, it is registered at the Offers service."""
    created = catalog.create(request.dbsession, now=datetime.now(UTC), **request.validated)
    sync_after_commit(request, [created])
    response = _one(request, created)
    response.status_int = 201
    response.location = request.route_url("product", id=created)
    return response


@product.get(
    permission=PUBLIC,
    validators=(product_id, no_query),
    answers=tagged("The product.", PRODUCT, "Vary", "Accept-Patch"),
    optional_token=True,
)
def read_product(request: Any) -> Response:
    """One product with its current offers, cheapest first; for an admin, also how it stands with the sync."""
    wanted = request.validated["product_id"]
    found = _read(request.reader, wanted)
    # Without a token this looks nobody up; a bad one is nobody's.
    if request.has_permission(Permission.SEE_SYNC):
        settings = request.registry["settings"]
        account = account_key(settings.offers_base_url, settings.offers_refresh_token.reveal())
        found["sync"] = runs.product(request.reader, wanted, settings.sync_interval_seconds, account)
        if found["sync"] is None:  # deleted a moment ago
            raise catalog.NotFound(wanted)
    response = _answer(request, found)
    response.vary = ["Authorization"]
    response.headers["Accept-Patch"] = f"{JSON}, {MERGE_PATCH}"
    return response


@product.patch(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_id, no_query, if_match, json_body(PRODUCT_CHANGE, MERGE_PATCH)),
    answers=(Answer("The product as it is now.", PRODUCT, headers=("ETag",)),),
    errors=("duplicate-name",),
)
def change_product(request: Any) -> Response:
    """Change the name, the description or both (JSON Merge Patch, RFC 7396); with If-Match, only the version named."""
    changed = request.validated.pop("product_id")
    catalog.change(request.dbsession, changed, datetime.now(UTC), **request.validated)
    # One that the Offers service refused is due again.
    sync_after_commit(request, [changed])
    return _one(request, changed)


@product.delete(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_id, no_query, if_match),
    answers=(Answer("It is gone.", None, 204),),
)
def delete_product(request: Any) -> Response:
    """Remove a product with its offers and history; with If-Match, only the version that it names."""
    catalog.remove(request.dbsession, **request.validated)
    return Response(status=204)


def sync_after_commit(request: Any, wanted: Sequence[UUID]) -> None:
    background = request.registry["background"]

    def submit(committed: bool) -> None:
        for each in wanted if committed else ():
            background.submit(each)

    request.tm.get().addAfterCommitHook(submit)


def _one(request: Any, wanted: UUID) -> Response:
    return _answer(request, _read(request.dbsession, wanted))


def _read(connection: Connection | Session, wanted: UUID) -> dict[str, Any]:
    found = dict(catalog.get(connection, wanted))
    found["offers"] = [dict(row) for row in offers.listing(connection, wanted)]
    return found


def _answer(request: Any, found: dict[str, Any]) -> Response:
    version = found.pop("version")
    return tagged_json(request, found, version)
