"""/products/{id}/prices, /trend and /verdict: what a product, or one of its offers, cost over time."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from pyramid.response import Response

from productagg.api.core.answers import Answer, public
from productagg.api.core.errors import ErrorCode, Problem
from productagg.api.core.fields import PRODUCT_ID, choice, uuid_parameter
from productagg.api.core.request import Request
from productagg.api.core.responses import digest, json_response, public_cache_control, respond
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import no_query, path_uuid, product_in_path, query
from productagg.api.openapi import schemas
from productagg.api.openapi.response_schemas import json_name
from productagg.api.views.price_window import WINDOW_PARAMETERS, WindowQuery, read_window
from productagg.db import clock
from productagg.history.series import RESOLUTIONS, Series, offer_series, product_series
from productagg.history.trends import Trend, trend
from productagg.history.verdicts import Verdict, verdict
from productagg.schema_types import mapping
from productagg.times import format_time

_PRODUCT_COLUMNS = ("at", "state", "currency", "lowest", "average", "offers", "items_in_stock")
_OFFER_COLUMNS = ("at", "state", "currency", "price", "items_in_stock")
_BUCKET_COLUMNS = ("open", "close", "highest", "mean", "in_stock_seconds", "observed_seconds", "changes")
_AT = "2026-11-23T09:41:07.250000Z"
_CSV_EXAMPLE = f"{','.join(_PRODUCT_COLUMNS)}\r\n{_AT},in_stock,EUR,4990,5240,3,12\r\n"
_OFFER_CSV_EXAMPLE = f"{','.join(_OFFER_COLUMNS)}\r\n{_AT},in_stock,EUR,4990,12\r\n"


class PricesQuery(WindowQuery):
    resolution: str


class TrendQuery(WindowQuery):
    metric: Literal["lowest", "average"]


prices_query = query(
    mapping(
        *WINDOW_PARAMETERS,
        choice(
            "resolution",
            (*RESOLUTIONS, "auto"),
            "Every step (`raw`), or a point for each hour, UTC day or ISO week; `auto` is the finest that fits.",
            missing="auto",
        ),
    ),
    PricesQuery,
)
trend_query = query(
    mapping(
        *WINDOW_PARAMETERS,
        choice(
            "metric",
            ("lowest", "average"),
            "Of the lowest in-stock price, or of the average in-stock price.",
            missing="lowest",
        ),
    ),
    TrendQuery,
)


def no_such_offer(offer_id: object) -> Problem:
    detail = f"The product has no offer {offer_id}. Offers that were closed long ago are removed."
    return Problem(ErrorCode.NOT_FOUND, detail)


OFFER_ID = uuid_parameter(
    "offer_id",
    "an offer's",
    "The offer's id.",
    example="5f1c2b7a-3f0e-4d8e-9d2b-6a7f0c1e2d3b",
)
offer_in_path = path_uuid("offer_id", no_such_offer, ErrorCode.NOT_FOUND)

product_prices = service("product_prices", "/products/{id}/prices", "Price history", PRODUCT_ID)
offer_prices = service("offer_prices", "/products/{id}/offers/{offer_id}/prices", "Price history", PRODUCT_ID, OFFER_ID)
product_prices_csv = service("product_prices_csv", "/products/{id}/prices.csv", "Price history", PRODUCT_ID)
offer_prices_csv = service(
    "offer_prices_csv", "/products/{id}/offers/{offer_id}/prices.csv", "Price history", PRODUCT_ID, OFFER_ID
)
product_trend = service("product_trend", "/products/{id}/trend", "Price history", PRODUCT_ID)
product_verdict = service("product_verdict", "/products/{id}/verdict", "Price history", PRODUCT_ID)


def _as_csv(example: str) -> tuple[Answer, ...]:
    return public("The series, with a line for each point.", None, "Content-Disposition", csv=example)


@product_prices.get(
    permission=PUBLIC,
    validators=(product_in_path, prices_query),
    answers=public("The series.", schemas.PRODUCT_SERIES),
)
def list_prices(request: Request) -> Response:
    """The product's prices in a window, in as many points as can be drawn."""
    return _json(request, _product_series(request), {"product_id": product_in_path.value(request)})


@product_prices_csv.get(permission=PUBLIC, validators=(product_in_path, prices_query), answers=_as_csv(_CSV_EXAMPLE))
def download_prices(request: Request) -> Response:
    """The product's prices in a window, as CSV (RFC 4180)."""
    return _csv(request, _product_series(request), _PRODUCT_COLUMNS, f"prices-{product_in_path.value(request)}.csv")


@offer_prices.get(
    permission=PUBLIC,
    validators=(product_in_path, offer_in_path, prices_query),
    answers=public("The series.", schemas.OFFER_SERIES),
)
def list_offer_prices(request: Request) -> Response:
    """One offer's prices in a window."""
    ids = {"product_id": product_in_path.value(request), "offer_id": offer_in_path.value(request)}
    return _json(request, _offer_series(request), ids)


@offer_prices_csv.get(
    permission=PUBLIC, validators=(product_in_path, offer_in_path, prices_query), answers=_as_csv(_OFFER_CSV_EXAMPLE)
)
def download_offer_prices(request: Request) -> Response:
    """One offer's prices in a window, as CSV (RFC 4180)."""
    filename = f"prices-{product_in_path.value(request)}-{offer_in_path.value(request)}.csv"
    return _csv(request, _offer_series(request), _OFFER_COLUMNS, filename)


@product_trend.get(
    permission=PUBLIC,
    validators=(product_in_path, trend_query),
    answers=public("The trend.", schemas.TREND),
)
def read_trend(request: Request) -> Response:
    """How the product's price moved in a window: the change between its ends, and the statistics."""
    product_id, parameters = product_in_path.value(request), trend_query.value(request)
    window = read_window(parameters, clock.now(request.reader))
    answer = trend(
        request.reader,
        product_id,
        window.begin,
        window.end,
        parameters["metric"],
        now=window.now,
        observed_for=request.services.observed_for,
    )
    return _json(request, answer, {"product_id": product_id})


@product_verdict.get(
    permission=PUBLIC, validators=(product_in_path, no_query), answers=public("The verdict.", schemas.VERDICT)
)
def read_verdict(request: Request) -> Response:
    """Whether the price is a good one now, measured by the product's own past."""
    product_id = product_in_path.value(request)
    now = clock.now(request.reader)
    answer = verdict(request.reader, product_id, now=now, observed_for=request.services.observed_for)
    return _json(request, answer, {"product_id": product_id})


def _product_series(request: Request) -> Series:
    product_id, parameters = product_in_path.value(request), prices_query.value(request)
    window = read_window(parameters, clock.now(request.reader))
    return product_series(
        request.reader,
        product_id,
        window.begin,
        window.end,
        parameters["resolution"],
        now=window.now,
        observed_for=request.services.observed_for,
    )


def _offer_series(request: Request) -> Series:
    product_id, offer_id, parameters = (
        product_in_path.value(request),
        offer_in_path.value(request),
        prices_query.value(request),
    )
    window = read_window(parameters, clock.now(request.reader))
    prices = offer_series(
        request.reader,
        product_id,
        offer_id,
        window.begin,
        window.end,
        parameters["resolution"],
        now=window.now,
        observed_for=request.services.observed_for,
    )
    if prices is None:
        raise no_such_offer(offer_id)
    return prices


def _json(request: Request, answer: Series | Trend | Verdict, ids: dict[str, UUID]) -> Response:
    members = {json_name(name): value for name, value in vars(answer).items()}
    return json_response({**ids, **members}, cache_control=public_cache_control(request))


def _csv(request: Request, prices: Series, columns: Sequence[str], filename: str) -> Response:
    """A header, then a line for each point. Times are written as in JSON, null as nothing."""
    columns = columns if prices.resolution == "raw" else (*columns, *_BUCKET_COLUMNS)
    text = io.StringIO(newline="")
    writer: csv.DictWriter[Any] = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({**point, "at": format_time(point["at"]), "currency": prices.currency} for point in prices.points)
    body = text.getvalue().encode()
    return respond(
        body,
        "text/csv; charset=utf-8",
        etag=digest(body),
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
        cache_control=public_cache_control(request),
    )
