"""/products and /products/{id}: the catalogue."""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.pagination import page_headers
from productagg.api.core.schemas import BROWSING, NEW_PRODUCT, PARTIAL, PRODUCT_CHANGE, PRODUCT_ID
from productagg.api.core.service import (
    JSON,
    MERGE_PATCH,
    PRIVATE,
    PUBLIC,
    dumps,
    if_match,
    invalid_query,
    json_body,
    keep,
    no_query,
    product_id,
    public_json,
    query,
    say_when_modified,
    seconds_until,
    service,
    tagged_json,
)
from productagg.api.openapi.answers import LISTED_PRODUCT, PAGE_HEADERS, PARTIAL_PRODUCT, PRODUCT, Answer, public
from productagg.catalog import listing
from productagg.catalog import products as catalog
from productagg.catalog.product_query import RELEVANCE, ProductQuery
from productagg.sync import product_status
from productagg.sync.tokens import account_key

products = service("products", "/products", "Catalogue")

partial_products = service("partial_products", "/products/partial", "Catalogue")

product = service("product", "/products/{id}", "Catalogue", PRODUCT_ID)


@products.get(
    permission=PUBLIC,
    validators=(query(BROWSING),),
    answers=public("A page of products, without their offers.", [LISTED_PRODUCT], *PAGE_HEADERS, "Total-Count?"),
    errors=("invalid-cursor",),
)
def list_products(request: Any) -> Response:
    """The catalogue, a page at a time: searched, filtered and sorted. `Next-Cursor` leads to the next page."""
    return _page(request)


@partial_products.get(
    permission=PUBLIC,
    validators=(query(PARTIAL),),
    answers=public("A page of products, with the chosen members.", [PARTIAL_PRODUCT], *PAGE_HEADERS, "Total-Count?"),
    errors=("invalid-cursor",),
)
def list_partial_products(request: Any) -> Response:
    """The same pages with some members only, those that `fields` names: less to transfer."""
    return _page(request)


def _page(request: Any) -> Response:
    question = request.validated
    cursor = question.pop("cursor")
    place, began = None, int(time.time())
    if cursor is not None:
        place, began = request.registry["cursors"].read(cursor, question)
    wanted, limit, counting = _wanted(question)
    page = listing.page(request.reader, wanted, limit, place, counted=counting is None)
    places = (page.following, page.previous)
    cursors = [each and request.registry["cursors"].write(each, question, began) for each in places]
    headers = page_headers(request, *cursors, first=True)
    # Not the cursors: they say when the first page was read.
    tagged_by = [f"{page.previous is not None} {page.following is not None}"]
    total = listing.total(request.reader, wanted, exact=True) if counting else page.total
    if total is not None:
        headers["Total-Count"] = str(total)
        tagged_by.append(str(total))
    body = f"[{','.join(page.products)}]"
    return public_json(request, orjson.Fragment(body), headers, tagged_by=tagged_by)


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
    created = catalog.create(request.dbsession, **request.validated)
    sync_after_commit(request, [created])
    response = _one(request, created)
    response.status_int = 201
    response.location = request.route_url("product", id=created)
    return response


@product.get(
    permission=PUBLIC,
    validators=(product_id, no_query),
    answers=public("The product.", PRODUCT, "Vary", "Accept-Patch", "Last-Modified?"),
)
def read_product(request: Any) -> Response:
    """One product with its current offers, cheapest first. With an admin's token, also how it stands with the sync."""
    wanted = request.validated["product_id"]
    found = catalog.get(request.reader, wanted)
    says = found.json_members
    # A bad token is nobody's.
    for_admin = "HTTP_AUTHORIZATION" in request.environ and request.has_permission(Permission.SEE_SYNC)
    if for_admin:
        settings = request.registry["settings"]
        account = account_key(settings.offers_base_url, settings.offers_refresh_token.reveal())
        sync = product_status.read(request.reader, wanted, settings.sync_interval_seconds, account)
        if sync is None:  # deleted a moment ago
            raise catalog.NotFound(wanted)
        says += f',"sync":{dumps(sync).decode().rstrip()}'
    response = tagged_json(orjson.Fragment("{" + says + "}"), found.version)
    response.headerlist += (("Vary", "Authorization"), ("Accept-Patch", f"{JSON}, {MERGE_PATCH}"))
    if for_admin:
        response.headers["Cache-Control"] = PRIVATE
    else:
        keep(request, response, seconds_until(found.next_sync_at, found.now))
        say_when_modified(response, found.modified_at, found.now)
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
    catalog.change(request.dbsession, changed, **request.validated)
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


def _wanted(question: Mapping[str, Any]) -> tuple[ProductQuery, int, bool | None]:
    """What is looked for, how many at most, and whether to count them all."""
    values = dict(question)
    limit, counting, words = (values.pop(name) for name in ("limit", "total", "q"))
    if None not in (values["min_price"], values["max_price"]) and values["min_price"] > values["max_price"]:
        raise invalid_query({"max_price": "must not be below 'min_price'"})
    if words is None and values["sort"] == RELEVANCE:
        raise invalid_query({"sort": f"must not be '{RELEVANCE}' without 'q'"})
    values["sort"] = values["sort"] or (RELEVANCE if words else "created_at")
    return ProductQuery(words=words or (), **values), limit, counting


def sync_after_commit(request: Any, wanted: Sequence[UUID]) -> None:
    background = request.registry["background"]

    def submit(committed: bool) -> None:
        for each in wanted if committed else ():
            background.submit(each)

    request.tm.get().addAfterCommitHook(submit)


def _one(request: Any, wanted: UUID) -> Response:
    found = catalog.get(request.dbsession, wanted)
    return tagged_json(orjson.Fragment("{" + found.json_members + "}"), found.version)
