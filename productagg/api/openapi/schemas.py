"""The schemas of the JSON that the API answers with. Views declare them, and the OpenAPI document publishes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_type_hints
from uuid import UUID

from productagg.api.core.errors import ErrorCode
from productagg.api.openapi.response_schemas import ObjectSchema, OneOf, StringEnum, dataclass_schema
from productagg.catalog.change_feed import Change
from productagg.history.movers import Mover
from productagg.history.offers_at import OffersAt
from productagg.history.prior_price import PriorPrice
from productagg.history.series import Series
from productagg.history.trends import Trend
from productagg.history.verdicts import Verdict
from productagg.offers.cost import Cost
from productagg.offers.offer_state import Quarantined
from productagg.sources.base import ProductFacts, Remark, SourceOffer
from productagg.sources.vocabulary import Availability, Condition
from productagg.sync.source_status import Link, SourceStatus
from productagg.sync.source_test import SourceReport
from productagg.sync.unmatched_items import UnmatchedItem

OFFER = ObjectSchema(
    "Offer",
    {
        "id": UUID,
        "source": str,
        "external_id": str | None,
        "seller": str | None,
        "url": str | None,
        "condition": Condition,
        "price": int,
        "currency": str,
        "comparable": bool,
        "shipping": int | None,
        "availability": Availability,
        "items_in_stock": int | None,
        "quarantined": Quarantined | None,
        "first_seen_at": datetime,
        "changed_at": datetime,
        "closed_at": datetime | None,
    },
)
_PRODUCT = {
    "id": UUID,
    "name": str,
    "description": str,
    **dict.fromkeys(("gtin", "brand", "category", "image_url"), str | None),
    "created_at": datetime,
    "updated_at": datetime,
    "registration": Literal["pending", "registered", "failed"],
    "last_synced_at": datetime | None,
    "last_changed_at": datetime | None,
    "currency": str,
    "lowest_price": int | None,
    "offer_count": int,
    "items_in_stock": int,
    "change_24h": int | None,
    "change_24h_percent": float | None,
}
LISTED_PRODUCT = ObjectSchema("ListedProduct", _PRODUCT)
PARTIAL_PRODUCT = ObjectSchema("PartialProduct", _PRODUCT, optional=frozenset(_PRODUCT) - {"id"})
PRODUCT_SYNC = ObjectSchema(
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
PRODUCT = ObjectSchema("Product", {**_PRODUCT, "offers": [OFFER], "sync": PRODUCT_SYNC}, frozenset({"sync"}))
_RUN_COUNTS = {**dict.fromkeys(("leased", "fetched", "changed", "closed", "failed"), int), "failures": dict[str, int]}
_SOURCE_RUN = ObjectSchema(
    "SourceRun", {"source_id": UUID, "name": str, **_RUN_COUNTS, "seconds": float, "ended_by": str}
)
RUN = ObjectSchema(
    "SyncRun",
    {
        "id": UUID,
        "host": str,
        "started_at": datetime,
        "finished_at": datetime | None,
        **_RUN_COUNTS,
        "requests": int,
        "bytes": int,
        "longest_wait_seconds": float,
        "ended_by": str | None,
        "sources": [_SOURCE_RUN],
        "state": Literal["finished", "running", "lost"],
    },
)

# Without its version, which is in the ETag.
SOURCE = ObjectSchema(
    "Source", {name: kind for name, kind in get_type_hints(SourceStatus).items() if name != "version"}
)
LINK = ObjectSchema("ProductSource", get_type_hints(Link))
_REMARK = ObjectSchema("SourceRemark", get_type_hints(Remark))
_FACTS = ObjectSchema("SourceProduct", get_type_hints(ProductFacts))
_SOURCE_OFFER = ObjectSchema("SourceOffer", {**get_type_hints(SourceOffer), "product": _FACTS})
SOURCE_TEST = ObjectSchema(
    "SourceTest",
    {**get_type_hints(SourceReport), "offers": [_SOURCE_OFFER], "rejected": [_REMARK], "remarks": [_REMARK]},
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
_OF_OFFER = {"price": int | None, "items_in_stock": int | None}


def _series(name: str, members: Mapping[str, Any], **ids: Any) -> OneOf:
    """A series of steps, or of hours, days or weeks. Clients tell them apart by `resolution`."""
    step = ObjectSchema(f"{name}Step", {**_POINT, **members})
    bucket = ObjectSchema(f"{name}Bucket", {**_POINT, **members, **_BUCKET})
    series = dataclass_schema(Series, **ids)
    return OneOf(
        (
            series.extended(f"{name}Steps", resolution=Literal["raw"], points=[step]),
            series.extended(f"{name}Buckets", resolution=Literal["hour", "day", "week"], points=[bucket]),
        )
    )


PRODUCT_SERIES = _series("Product", _OF_PRODUCT, product_id=UUID)
OFFER_SERIES = _series("Offer", _OF_OFFER, product_id=UUID, offer_id=UUID)

# Renamed for generated Python clients: they cannot have a class Verdict with a member `verdict`, Cost with `cost`, …
TREND = dataclass_schema(Trend, product_id=UUID)
VERDICT = dataclass_schema(Verdict, product_id=UUID).extended("PriceVerdict")
PRIOR_PRICE = dataclass_schema(PriorPrice, product_id=UUID, offer_id=UUID).extended("OfferPriorPrice")
MOVER = dataclass_schema(Mover)
CHANGE = dataclass_schema(Change)
UNMATCHED_ITEM = dataclass_schema(UnmatchedItem)
COST = dataclass_schema(Cost).extended("OffersCost")
OFFERS = OneOf(([OFFER], dataclass_schema(OffersAt)))

_CORRECTED = ObjectSchema("CorrectedPrice", {"at": datetime, "old_price": int, "new_price": int})
CORRECTION = ObjectSchema(
    "PriceCorrection",
    {
        "id": UUID,
        "at": datetime,
        "username": str,
        "from": datetime,
        "until": datetime,
        "currency": str,
        "price": int | None,
        "reason": str,
        "changes": [_CORRECTED],
    },
)

TOKEN = ObjectSchema("Token", {"access_token": str, "token_type": Literal["Bearer"], "expires_in": int})
LIVE = ObjectSchema("Live", {"status": Literal["live"]})
READY = ObjectSchema("Ready", {"status": Literal["ready"], "database": Literal["ok"], "schema": Literal["ok"]})
_CODE = StringEnum("ProblemCode", tuple(ErrorCode))
EXPLANATION = ObjectSchema("ProblemExplanation", {"code": _CODE, "status": int, "title": str, "advice": str})
_FAULT = ObjectSchema("Fault", {"pointer": str, "parameter": str, "detail": str}, frozenset({"pointer", "parameter"}))
DOCUMENT = ObjectSchema(
    "OpenApi",
    {
        "openapi": str,
        **dict.fromkeys(("info", "paths", "components"), dict[str, Any]),
        **dict.fromkeys(("tags", "security"), list[Any]),
    },
)
PROBLEM = ObjectSchema(
    "Problem",
    {"type": str, "title": str, "status": int, "detail": str, "code": _CODE, "errors": [_FAULT]},
    frozenset({"errors"}),
)
CREATED = ObjectSchema("BatchCreated", {"status": Literal[201], "id": UUID, "location": str})
NOT_CREATED = ObjectSchema("BatchNotCreated", {"status": Literal[409, 422], "problem": PROBLEM})
PRIOR_PRICE_FOUND = ObjectSchema("PriorPriceFound", {"status": Literal[200], "result": PRIOR_PRICE})
PRIOR_PRICE_NOT_FOUND = ObjectSchema("PriorPriceNotFound", {"status": Literal[404], "problem": PROBLEM})
