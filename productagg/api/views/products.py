"""/products and /products/{id}: the catalogue."""

import time
from collections.abc import Sequence
from typing import Any, TypedDict
from uuid import UUID

import orjson
from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import PAGE_HEADERS, Answer, public
from productagg.api.core.errors import ErrorCode
from productagg.api.core.fields import PRODUCT_ID, offer_order
from productagg.api.core.pagination import page_headers
from productagg.api.core.request import Request
from productagg.api.core.responses import (
    JSON,
    PRIVATE,
    dumps,
    json_response,
    last_modified,
    public_cache_control,
    respond,
)
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import (
    MERGE_PATCH,
    Validator,
    invalid_query,
    json_body,
    no_query,
    preconditions,
    product_in_path,
    query,
)
from productagg.api.openapi.schemas import LISTED_PRODUCT, PARTIAL_PRODUCT, PRODUCT
from productagg.api.views.listing_query import ListingQuery, listing_query, partial_query
from productagg.catalog import listing
from productagg.catalog import products as catalog
from productagg.catalog.product_members import MEMBERS, OfferOrder
from productagg.catalog.product_query import RELEVANCE, ProductQuery
from productagg.catalog.product_schema import NEW_PRODUCT, PRODUCT_CHANGE
from productagg.catalog.product_values import Facts, ProductValues
from productagg.schema_types import mapping
from productagg.sync import product_status
from productagg.sync.product_status import ProductStatus
from productagg.sync.tokens import account_key


class ProductBody(Facts):
    name: str
    description: str


new_product = json_body(NEW_PRODUCT, ProductBody)
product_change = json_body(PRODUCT_CHANGE, ProductValues, MERGE_PATCH)


class ProductQueryString(TypedDict):
    by: OfferOrder


product_query = query(mapping(offer_order()), ProductQueryString)

products = service("products", "/products", "Catalogue")
partial_products = service("partial_products", "/products/partial", "Catalogue")
product = service("product", "/products/{id}", "Catalogue", PRODUCT_ID)


def _pages(query: Validator[Any], content: str, kind: object) -> dict[str, Any]:
    """What the two views that answer with pages of products declare."""
    return {
        "permission": PUBLIC,
        "validators": (query,),
        "answers": public(f"A page of products, {content}.", [kind], *PAGE_HEADERS, "Total-Count?"),
        "errors": (ErrorCode.INVALID_CURSOR,),
    }


@products.get(**_pages(listing_query, "without their offers", LISTED_PRODUCT))
def list_products(request: Request) -> Response:
    """The catalogue, a page at a time: searched, filtered and sorted. `Next-Cursor` leads to the next page."""
    return _page(request, listing_query.value(request), MEMBERS)


@partial_products.get(**_pages(partial_query, "with the chosen members", PARTIAL_PRODUCT))
def list_partial_products(request: Request) -> Response:
    """The same pages with only the members that `fields` names: less to transfer."""
    parameters = partial_query.value(request)
    return _page(request, parameters, parameters["fields"])


def _page(request: Request, parameters: ListingQuery, fields: tuple[str, ...]) -> Response:
    cursors = request.services.cursors
    position, began = None, int(time.time())
    if parameters["cursor"] is not None:
        position, began = cursors.read(parameters["cursor"], parameters)
    selection = _product_query(parameters, fields)
    page = listing.page(request.reader, selection, parameters["limit"], position, counted=parameters["total"] is None)
    total = listing.total(request.reader, selection, exact=True) if parameters["total"] else page.total
    next_cursor = cursors.write(page.following, parameters, began) if page.following else None
    previous_cursor = cursors.write(page.previous, parameters, began) if page.previous else None
    headers = page_headers(request, next_cursor, previous_cursor, first=True)
    # Not the cursors: they contain when the first page was read.
    tagged_by = [f"{previous_cursor is not None} {next_cursor is not None}"]
    if total is not None:
        headers["Total-Count"] = str(total)
        tagged_by.append(str(total))
    return json_response(
        orjson.Fragment(f"[{','.join(page.products)}]"),
        tagged_by=tagged_by,
        headers=headers,
        cache_control=public_cache_control(request),
    )


def _product_query(parameters: ListingQuery, fields: tuple[str, ...]) -> ProductQuery:
    """Raises Problem for parameters that do not go together."""
    min_price, max_price, words = parameters["min_price"], parameters["max_price"], parameters["q"] or ()
    if min_price is not None and max_price is not None and min_price > max_price:
        raise invalid_query({"max_price": "must not be below 'min_price'"})
    if parameters["sort"] == RELEVANCE and not words:
        raise invalid_query({"sort": f"must not be '{RELEVANCE}' without 'q'"})
    return ProductQuery(
        words=words,
        min_price=min_price,
        max_price=max_price,
        in_stock=parameters["in_stock"],
        registration=parameters["registration"],
        updated_since=parameters["updated_since"],
        ids=parameters["ids"],
        brands=parameters["brand"],
        categories=parameters["category"],
        sort=parameters["sort"] or (RELEVANCE if words else "created_at"),
        fields=fields,
    )


@products.post(
    permission=Permission.EDIT_CATALOGUE,
    validators=(no_query, new_product),
    answers=(
        Answer(
            "The product, which has no offers yet.",
            PRODUCT,
            201,
            headers=("Location", "ETag"),
            links={PRODUCT_ID: "$response.body#/id"},
        ),
    ),
    errors=(ErrorCode.DUPLICATE_NAME,),
)
def create_product(request: Request) -> Response:
    """Add a product. After the commit, outside the transaction, it is registered at the Offers service."""
    product_id = catalog.create(request.dbsession, **new_product.value(request))
    sync_after_commit(request, [product_id])
    stored = catalog.get(request.dbsession, product_id)
    location = {"Location": request.route_url("product", id=product_id)}
    return json_response(_product_json(stored), version=stored.version, status=201, headers=location)


@product.get(
    permission=PUBLIC,
    validators=(product_in_path, product_query),
    answers=public("The product.", PRODUCT, "Vary", "Accept-Patch", "Last-Modified?"),
)
def read_product(request: Request) -> Response:
    """One product with its current offers, cheapest first by `by`. With an admin's token, also its sync state."""
    product_id = product_in_path.value(request)
    stored = catalog.get(request.reader, product_id, product_query.value(request)["by"])
    headers = {"Vary": "Authorization", "Accept-Patch": f"{JSON}, {MERGE_PATCH}"}
    # A client with an invalid token is anonymous.
    if "HTTP_AUTHORIZATION" in request.environ and request.has_permission(Permission.SEE_SYNC):
        content = _product_json(stored, sync=_sync_state(request, product_id))
        return json_response(content, version=stored.version, headers=headers, cache_control=PRIVATE)
    return json_response(
        _product_json(stored),
        version=stored.version,
        headers={**headers, **last_modified(stored.modified_at, stored.now)},
        cache_control=public_cache_control(request, stored.next_sync_at - stored.now),
    )


def _product_json(stored: catalog.ProductDetails, sync: ProductStatus | None = None) -> orjson.Fragment:
    members = stored.json_members if sync is None else f'{stored.json_members},"sync":{dumps(sync).decode().rstrip()}'
    return orjson.Fragment("{" + members + "}")


def _sync_state(request: Request, product_id: UUID) -> ProductStatus:
    settings = request.services.settings
    account = account_key(settings.offers_base_url, settings.offers_refresh_token.reveal())
    state = product_status.read(request.reader, product_id, settings.sync_interval_seconds, account)
    if state is None:  # deleted a moment ago
        raise catalog.NotFound(product_id)
    return state


@product.patch(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_in_path, no_query, preconditions, product_change),
    answers=(Answer("The product as it is now.", PRODUCT, headers=("ETag",)),),
    errors=(ErrorCode.DUPLICATE_NAME,),
)
def change_product(request: Request) -> Response:
    """Change some values of a product (JSON Merge Patch, RFC 7396); with If-Match, only of that version."""
    product_id, change, conditions = (
        product_in_path.value(request),
        product_change.value(request),
        preconditions.value(request),
    )
    catalog.change(
        request.dbsession,
        product_id,
        versions=conditions.versions,
        other_than=conditions.other_than,
        unmodified_since=conditions.unmodified_since,
        **change,
    )
    # If the Offers service had refused the product, it is due again.
    sync_after_commit(request, [product_id])
    stored = catalog.get(request.dbsession, product_id)
    return json_response(_product_json(stored), version=stored.version)


@product.delete(
    permission=Permission.EDIT_CATALOGUE,
    validators=(product_in_path, no_query, preconditions),
    answers=(Answer("The product was removed.", None, 204),),
)
def delete_product(request: Request) -> Response:
    """Remove a product with its offers and history; with If-Match, only that version."""
    conditions = preconditions.value(request)
    catalog.remove(
        request.dbsession,
        product_in_path.value(request),
        versions=conditions.versions,
        other_than=conditions.other_than,
        unmodified_since=conditions.unmodified_since,
    )
    return respond(None, status=204)


def sync_after_commit(request: Request, product_ids: Sequence[UUID]) -> None:
    """Have the background sync products as soon as the request's transaction has committed."""
    background = request.services.background

    def submit(committed: bool) -> None:
        for product_id in product_ids if committed else ():
            background.submit(product_id)

    request.tm.get().addAfterCommitHook(submit)
