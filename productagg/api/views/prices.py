"""/products/{id}/prices, /trend and /verdict: what a product, or one of its offers, cost over time."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pyramid.response import Response

from productagg.api.core.errors import Problem
from productagg.api.core.schemas import OFFER_ID, PRICES, PRODUCT_ID, TREND, uuid
from productagg.api.core.service import (
    PUBLIC,
    Validator,
    invalid_query,
    no_query,
    observed_for,
    product_id,
    public,
    public_json,
    query,
    service,
)
from productagg.api.core.times import EARLIEST
from productagg.api.openapi import answers
from productagg.api.openapi.response_schemas import shown_as
from productagg.db import clock
from productagg.history.series import Series, offer_series, product_series
from productagg.history.trends import trend
from productagg.history.verdicts import verdict

product_prices = service("product_prices", "/products/{id}/prices", "Price history", PRODUCT_ID)
offer_prices = service("offer_prices", "/products/{id}/offers/{offer_id}/prices", "Price history", PRODUCT_ID, OFFER_ID)
product_prices_csv = service("product_prices_csv", "/products/{id}/prices.csv", "Price history", PRODUCT_ID)
offer_prices_csv = service(
    "offer_prices_csv", "/products/{id}/offers/{offer_id}/prices.csv", "Price history", PRODUCT_ID, OFFER_ID
)
product_trend = service("product_trend", "/products/{id}/trend", "Price history", PRODUCT_ID)
product_verdict = service("product_verdict", "/products/{id}/verdict", "Price history", PRODUCT_ID)

_DEFAULT_WINDOW = timedelta(days=30)
_PRODUCT_COLUMNS = ("at", "state", "lowest", "average", "offers", "items_in_stock")
_OFFER_COLUMNS = ("at", "state", "price", "items_in_stock")
_BUCKET_COLUMNS = ("open", "close", "highest", "mean", "in_stock_seconds", "observed_seconds", "changes")
_AT = "2026-11-23T09:41:07.250000Z"
_CSV = f"{','.join(_PRODUCT_COLUMNS)}\r\n{_AT},in_stock,4990,5240,3,12\r\n"
_OFFER_CSV = f"{','.join(_OFFER_COLUMNS)}\r\n{_AT},in_stock,4990,12\r\n"


def _offer_id(request: Any) -> None:
    text = request.matchdict["offer_id"]
    try:
        request.validated["offer_id"] = uuid(text)
    except ValueError:
        raise _no_such_offer(text) from None


def _window(request: Any) -> None:
    """For a validator: `from`, `to` and `period` become `begin` and `end`, as of a `now` that is decided here.

    The window ends at `to`, but not after now, which is also the default. It begins at `from`, else the period, or 30
    days, before its end.
    """
    values = request.validated
    begin, end, period = values["from"], values["to"], values["period"]
    now = clock.now(request.reader)
    if period is not None and (begin or end):
        raise invalid_query({"period": "must not be given together with 'from' or 'to'"})
    if begin is not None and begin >= now:
        raise invalid_query({"from": "must lie in the past"})
    end = now if end is None else min(end, now)
    if begin is None:
        begin = max(EARLIEST, end - (period or _DEFAULT_WINDOW))
    if begin >= end:
        order = {"from": "must be earlier than 'to'"}
        raise invalid_query(order if values["from"] else {"to": f"must be later than {_rfc3339(EARLIEST)}"})
    values.update(begin=begin, end=end, now=now)


# A validator: the path's offer is a UUID. Anything else names no offer.
offer_id = Validator(_offer_id, ("not-found",))
window = Validator(_window, ("invalid-data",))


def _as_csv(example: str) -> tuple[answers.Answer, ...]:
    return answers.public("The series, with a line for each point.", None, "Content-Disposition", csv=example)


@product_prices.get(
    permission=PUBLIC,
    validators=(product_id, query(PRICES), window),
    answers=answers.public("The series.", answers.PRODUCT_SERIES),
)
def list_prices(request: Any) -> Response:
    """The product's prices in a window, in as many points as can be drawn."""
    return _json(request, _product_series(request))


@product_prices_csv.get(permission=PUBLIC, validators=(product_id, query(PRICES), window), answers=_as_csv(_CSV))
def download_prices(request: Any) -> Response:
    """The product's prices in a window, as CSV (RFC 4180)."""
    return _csv(request, _product_series(request), _PRODUCT_COLUMNS)


@offer_prices.get(
    permission=PUBLIC,
    validators=(product_id, offer_id, query(PRICES), window),
    answers=answers.public("The series.", answers.OFFER_SERIES),
)
def list_offer_prices(request: Any) -> Response:
    """One offer's prices in a window."""
    return _json(request, _offer_series(request))


@offer_prices_csv.get(
    permission=PUBLIC, validators=(product_id, offer_id, query(PRICES), window), answers=_as_csv(_OFFER_CSV)
)
def download_offer_prices(request: Any) -> Response:
    """One offer's prices in a window, as CSV (RFC 4180)."""
    return _csv(request, _offer_series(request), _OFFER_COLUMNS)


@product_trend.get(
    permission=PUBLIC,
    validators=(product_id, query(TREND), window),
    answers=answers.public("The trend.", answers.TREND),
)
def read_trend(request: Any) -> Response:
    """How the product's price moved in a window: the change between its ends, and the statistics."""
    values = request.validated
    found = trend(
        request.reader,
        values["product_id"],
        values["begin"],
        values["end"],
        values["metric"],
        now=values["now"],
        observed_for=observed_for(request),
    )
    return public_json(request, {"product_id": values["product_id"], **_shown(found)})


@product_verdict.get(
    permission=PUBLIC, validators=(product_id, no_query), answers=answers.public("The verdict.", answers.VERDICT)
)
def read_verdict(request: Any) -> Response:
    """Whether the price is a good one now, measured by the product's own past."""
    wanted = request.validated["product_id"]
    found = verdict(request.reader, wanted, now=clock.now(request.reader), observed_for=observed_for(request))
    return public_json(request, {"product_id": wanted, **_shown(found)})


def _shown(found: Any) -> dict[str, Any]:
    return {shown_as(name): value for name, value in vars(found).items()}


def _no_such_offer(offer_id: object) -> Problem:
    return Problem(
        "not-found", f"The product has no offer {offer_id}, or it was closed so long ago that it was removed."
    )


def _product_series(request: Any) -> Series:
    values = request.validated
    return product_series(
        request.reader,
        values["product_id"],
        values["begin"],
        values["end"],
        values["resolution"],
        now=values["now"],
        observed_for=observed_for(request),
    )


def _offer_series(request: Any) -> Series:
    values = request.validated
    found = offer_series(
        request.reader,
        values["product_id"],
        values["offer_id"],
        values["begin"],
        values["end"],
        values["resolution"],
        now=values["now"],
        observed_for=observed_for(request),
    )
    if found is None:
        raise _no_such_offer(values["offer_id"])
    return found


def _ids(request: Any) -> dict[str, UUID]:
    """What the series is of: a product, or one of its offers."""
    return {name: request.validated[name] for name in ("product_id", "offer_id") if name in request.validated}


def _json(request: Any, found: Series) -> Response:
    return public_json(request, {**_ids(request), **_shown(found)})


def _csv(request: Any, found: Series, columns: Sequence[str]) -> Response:
    """A header, then a line a point. Times are written as in JSON, null as nothing."""
    columns = columns if found.resolution == "raw" else (*columns, *_BUCKET_COLUMNS)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({**point, "at": _rfc3339(point["at"])} for point in found.points)
    response = public(request, text.getvalue().encode(), "text/csv; charset=utf-8")
    response.content_disposition = f'attachment; filename="prices-{"-".join(map(str, _ids(request).values()))}.csv"'
    return response


def _rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
