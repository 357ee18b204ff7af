"""What the views answer: each success's status, headers, media type and shape. The views declare it with `answers=`.

The functional tests hold every answer against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from productagg.api.core.errors import PROBLEMS
from productagg.api.openapi.response_schemas import Choice, Either, Shape, of
from productagg.catalog.change_feed import Change
from productagg.history.movers import Mover
from productagg.history.offers_at import OffersThen
from productagg.history.series import Series
from productagg.history.trends import Trend
from productagg.history.verdicts import Verdict
from productagg.offers.reconcile import Cost

OFFER = Shape(
    "Offer",
    {
        "id": UUID,
        "price": int,
        "items_in_stock": int,
        "first_seen_at": datetime,
        "changed_at": datetime,
        "closed_at": datetime | None,
    },
)
_PRODUCT = {
    "id": UUID,
    "name": str,
    "description": str,
    "created_at": datetime,
    "updated_at": datetime,
    "registration": Literal["pending", "registered", "failed"],
    "last_synced_at": datetime | None,
    "last_changed_at": datetime | None,
    "lowest_price": int | None,
    "offer_count": int,
    "items_in_stock": int,
    "change_24h": int | None,
    "change_24h_percent": float | None,
}
LISTED_PRODUCT = Shape("ListedProduct", _PRODUCT)
PARTIAL_PRODUCT = Shape("PartialProduct", _PRODUCT, optional=frozenset(_PRODUCT) - {"id"})
PRODUCT_SYNC = Shape(
    "ProductSync",
    {
        "registered_at": datetime | None,
        "last_asked_at": datetime | None,
        "last_synced_at": datetime | None,
        "last_changed_at": datetime | None,
        "next_sync_at": datetime,
        "next_sync_reason": str,
        "failures": int,
        "last_error": str | None,
        "leased_until": datetime | None,
    },
)
PRODUCT = Shape("Product", {**_PRODUCT, "offers": [OFFER], "sync": PRODUCT_SYNC}, frozenset({"sync"}))
RUN = Shape(
    "SyncRun",
    {
        "id": UUID,
        "host": str,
        "started_at": datetime,
        "finished_at": datetime | None,
        **dict.fromkeys(("claimed", "fetched", "changed", "closed", "failed"), int),
        "failures": dict[str, int],
        "requests": int,
        "bytes": int,
        "longest_wait_seconds": float,
        "ended_by": str | None,
        "state": Literal["finished", "running", "lost"],
    },
)

_BUCKET = {
    **dict.fromkeys(("open", "close", "highest"), int | None),
    "mean": float | None,
    "in_stock_seconds": float,
    "observed_seconds": float,
    "changes": int,
}
_POINT = {"at": datetime, "state": str}
_OF_PRODUCT = {"lowest": int | None, "average": int | None, "offers": int, "items_in_stock": int}
_OF_OFFER = {"price": int | None, "items_in_stock": int}


def _series(name: str, members: Mapping[str, Any], **ids: Any) -> Either:
    """A series of steps, or of hours, days or weeks: its `resolution` says which."""
    step = Shape(f"{name}Step", {**_POINT, **members})
    bucket = Shape(f"{name}Bucket", {**_POINT, **members, **_BUCKET})
    series = of(Series, **ids)
    return Either(
        (
            series.and_(f"{name}Steps", resolution=Literal["raw"], points=[step]),
            series.and_(f"{name}Buckets", resolution=Literal["hour", "day", "week"], points=[bucket]),
        )
    )


PRODUCT_SERIES = _series("Product", _OF_PRODUCT, product_id=UUID)
OFFER_SERIES = _series("Offer", _OF_OFFER, product_id=UUID, offer_id=UUID)

# A class with a member of its own name confuses generated Python: a verdict's `verdict`, a cost's `cost`.
TREND = of(Trend, product_id=UUID)
VERDICT = of(Verdict, product_id=UUID).and_("PriceVerdict")
MOVER = of(Mover)
CHANGE = of(Change)
COST = of(Cost).and_("OffersCost")
OFFERS = Either(([OFFER], of(OffersThen)))

TOKEN = Shape("Token", {"access_token": str, "token_type": Literal["Bearer"], "expires_in": int})
LIVE = Shape("Live", {"status": Literal["live"]})
READY = Shape("Ready", {"status": Literal["ready"], "database": Literal["ok"], "schema": Literal["ok"]})
_CODE = Choice("ProblemCode", tuple(PROBLEMS))
EXPLANATION = Shape("ProblemExplanation", {"code": _CODE, "status": int, "title": str, "advice": str})
_FAULT = Shape("Fault", {"pointer": str, "parameter": str, "detail": str}, frozenset({"pointer", "parameter"}))
DOCUMENT = Shape(
    "OpenApi",
    {
        "openapi": str,
        **dict.fromkeys(("info", "paths", "components"), dict[str, Any]),
        **dict.fromkeys(("tags", "security"), list[Any]),
    },
)
PROBLEM = Shape(
    "Problem",
    {"type": str, "title": str, "status": int, "detail": str, "code": _CODE, "errors": [_FAULT]},
    frozenset({"errors"}),
)
CREATED = Shape("BatchCreated", {"status": Literal[201], "id": UUID, "location": str})
NOT_CREATED = Shape("BatchNotCreated", {"status": Literal[409, 422], "problem": PROBLEM})


# What pagination.py puts on a page: there is a cursor if there is such a page, and a Link unless it would be too long.
PAGE_HEADERS = ("Next-Cursor?", "Prev-Cursor?", "Link?")


@dataclass(frozen=True)
class Answer:
    """A success. `kind` is its shape, None for no JSON; `csv` is an example of the CSV that it is instead.

    `headers` that only some such answers have end in a question mark. `links` name the path parameters of other
    operations that the body holds, and where.
    """

    description: str
    kind: Any
    status: int = 200
    headers: tuple[str, ...] = ()
    csv: str = ""
    links: Mapping[Any, str] = field(default_factory=dict)


def tagged(description: str, kind: Any, *headers: str, **options: Any) -> tuple[Answer, ...]:
    """A success with an ETag, which If-None-Match turns into a 304."""
    return (Answer(description, kind, headers=("ETag", *headers), **options),)


def public(description: str, kind: Any, *headers: str, **options: Any) -> tuple[Answer, ...]:
    """The same of one that anyone may keep for a while."""
    return tagged(description, kind, "Cache-Control", *headers, **options)
