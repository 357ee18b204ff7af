"""What each member of an answer means, with an example: the words of the document at /openapi.json.

A member is looked up as `Shape.member` first, then by its name alone.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from productagg.history.series import RESOLUTIONS

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Member(NamedTuple):
    """`example` is ... where the member's own shape has one. `schema` narrows what the type says."""

    description: str
    example: Any = ...
    schema: Mapping[str, Any] = _NOTHING


_PRODUCT = "019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10"
_OFFER = "5f1c2b7a-3f0e-4d8e-9d2b-6a7f0c1e2d3b"
_EARLY, _LATE, _NOW = "2026-11-16T08:30:00Z", "2026-11-23T09:41:07.250000Z", "2026-11-23T10:00:00Z"
_HOUR = "2026-11-23T09:00:00Z"
_MONTH_AGO = "2026-10-24T10:00:00Z"

_RESOLUTION = {"enum": list(RESOLUTIONS)}
_STATE = {"enum": ["in_stock", "sold_out", "not_observed"]}
_PERCENT = {"minimum": 0, "maximum": 100}
_COUNT = {"minimum": 0}

MEMBERS: dict[str, Member] = {
    # Products and offers
    "id": Member("The product's id, a UUID. Ids are in the order of creation.", _PRODUCT),
    "product_id": Member("The product's id.", _PRODUCT),
    "name": Member("The product's name, which is unique.", "Brass desk lamp"),
    "description": Member("The product's description.", "Shines on the desk, not in the eyes."),
    "created_at": Member("When the product was created.", _EARLY),
    "updated_at": Member("When its name or description last changed.", _EARLY),
    "registration": Member(
        "`pending`: not yet registered at the Offers service; `failed`: that refused the data, and is tried again.",
        "registered",
    ),
    "last_synced_at": Member("When the Offers service last gave a whole, valid list of offers.", _NOW),
    "last_changed_at": Member("When such a list last changed an offer.", _LATE),
    "lowest_price": Member("What it costs now: the lowest in-stock price; null if nothing is in stock.", 4990),
    "offer_count": Member("How many offers are in stock.", 3, _COUNT),
    "change_24h": Member("`lowest_price` less what it was 24 hours ago; null without both.", -500),
    "change_24h_percent": Member(
        "100 × `change_24h` / the price then, rounded to two decimals; null without both, or if that was 0.", -9.11
    ),
    "offers": Member("The offers, cheapest first."),
    "sync": Member("How the product stands with the sync. Only with an admin's token."),
    "Offer.id": Member("The offer's id, as the Offers service gave it.", _OFFER),
    "OfferThen.id": Member("The offer's id, as the Offers service gave it.", _OFFER),
    "offer_id": Member("The offer's id, as the Offers service gave it.", _OFFER),
    "price": Member("What one unit costs, in the Offers service's unit.", 4990),
    "items_in_stock": Member("How many units are in stock.", 12),
    "first_seen_at": Member("When the offer was first in a list.", _EARLY),
    "changed_at": Member("When its price or stock last changed, or it was closed.", _LATE),
    "closed_at": Member("Since when it is sold out; null while it is offered.", None),
    # How a product stands with the sync
    "registered_at": Member("When the product was registered at the Offers service.", "2026-11-16T08:30:01Z"),
    "last_asked_at": Member("When the Offers service was last asked, whatever came of it.", _NOW),
    "next_sync_at": Member("When it will be asked next.", "2026-11-23T10:01:00Z"),
    "next_sync_reason": Member("Why it will be asked then, in a sentence.", "its regular turn"),
    "leased_until": Member("Until when whoever asks right now has it to itself.", None),
    "ProductSync.failures": Member("How often it has failed since the last success.", 0, _COUNT),
    "last_error": Member("Why it failed last.", None),
    # Passes
    "SyncRun.id": Member("The pass's id, a UUID. Ids are in the order in which passes start.", _OFFER),
    "host": Member("Where it ran.", "sync-1"),
    "started_at": Member("When it began.", "2026-11-23T10:00:01Z"),
    "finished_at": Member("When it ended; null until then.", "2026-11-23T10:00:14Z"),
    "claimed": Member("How many products it took.", 250, _COUNT),
    "fetched": Member("Of how many of them it got a whole, valid list.", 249, _COUNT),
    "changed": Member("How many of them had other offers than before.", 118, _COUNT),
    "closed": Member("How many offers vanished.", 3, _COUNT),
    "failed": Member("Of how many of them it got no such list.", 1, _COUNT),
    "failures": Member("For which reasons: the number of products by reason.", {"the Offers service answered 500": 1}),
    "requests": Member("How many requests it sent to the Offers service.", 250, _COUNT),
    "bytes": Member("How many bytes were exchanged with the Offers service.", 61432, _COUNT),
    "longest_wait_seconds": Member("How long the most overdue product had been due.", 1.2),
    "ended_by": Member(
        "`done`, `budget` (its time was up), `interrupted`, `crashed`, or why it could not go on; null until then.",
        "done",
    ),
    "SyncRun.state": Member("`lost`: its time is up, and it did not say how it ended.", "finished"),
    # Windows and series
    "from": Member("Where the window begins, as it was aligned to the resolution.", _MONTH_AGO),
    "to": Member("Where the window ends; not part of it.", _NOW),
    "resolution": Member("What the answer was worked out from; `raw` is exact.", "raw", _RESOLUTION),
    "points": Member("The points in the order of time, 1,000 at most."),
    "at": Member("The time that this is about.", _NOW),
    "ProductStep.at": Member("Since when it was so.", _LATE),
    "OfferStep.at": Member("Since when it was so.", _LATE),
    "ProductBucket.at": Member("Where the hour, day or week begins.", _HOUR),
    "OfferBucket.at": Member("Where the hour, day or week begins.", _HOUR),
    "ProductBuckets.resolution": Member("How long each point is.", "hour"),
    "OfferBuckets.resolution": Member("How long each point is.", "hour"),
    "Extreme.at": Member("Since when, in the window, it was the price.", _LATE),
    "state": Member("Whether there was a price: in stock, sold out, or nobody knows.", "in_stock", _STATE),
    "lowest": Member("The lowest in-stock price; null unless in stock.", 4990),
    "average": Member("The mean of the in-stock offers' prices, rounded half up; null unless in stock.", 5240),
    "ProductStep.offers": Member("How many offers there were.", 3, _COUNT),
    "ProductBucket.offers": Member("How many offers there were at its end.", 3, _COUNT),
    "OfferStep.price": Member("The offer's price; null unless in stock.", 4990),
    "OfferBucket.price": Member("The offer's lowest price in stock; null if it was never in stock.", 4990),
    "open": Member("The first price in stock.", 5190),
    "close": Member("The last price in stock.", 4990),
    "highest": Member("The highest price in stock.", 5190),
    "ProductBucket.mean": Member("The time-weighted mean of the price in stock.", 5062.5),
    "OfferBucket.mean": Member("The time-weighted mean of the price in stock.", 5062.5),
    "in_stock_seconds": Member("How long it was in stock.", 3600.0),
    "observed_seconds": Member("How long it was observed.", 3600.0),
    "ProductBucket.changes": Member("How often the price changed.", 2, _COUNT),
    "OfferBucket.changes": Member("How often the price changed.", 2, _COUNT),
    # Trend
    "metric": Member("Of which price.", "lowest", {"enum": ["lowest", "average"]}),
    "start_price": Member("The price where the window begins; null if sold out or not observed then.", 5490),
    "end_price": Member("The price where the window ends; null if sold out or not observed then.", 4990),
    "change": Member("`end_price` - `start_price`; null without both.", -500),
    "change_percent": Member("100 × `change` / `start_price`, rounded to two decimals; null without both.", -9.11),
    "direction": Member("The sign of `change`; null without it.", "down"),
    "minimum": Member("The smallest price in stock."),
    "maximum": Member("The largest price in stock."),
    "mean": Member("The mean of the price, weighted by how long it held; null if it was never in stock.", 5180.4),
    "median": Member("The median of the price, weighted likewise.", 5190.0),
    "out_of_stock_percent": Member("100 × sold-out time / observed time; null if never observed.", 2.5, _PERCENT),
    "observed_percent": Member("100 × observed time / the window.", 99.93, _PERCENT),
    "longest_gap_seconds": Member("The longest time not observed, after the first observation.", 0.0),
    "changes": Member("How often the price changed, to and from sold out included.", 41, _COUNT),
    # Verdict
    "resolution_ever": Member("What the figures of all times were worked out from.", "raw", _RESOLUTION),
    "PriceVerdict.price": Member("The lowest price now; null unless in stock.", 4990),
    "verdict": Member("Whether the price is a good one; null without a price.", "good"),
    "confidence": Member("`low` if there are `reasons`.", "high"),
    "reasons": Member("Why not to rely on it.", []),
    "all_time_low": Member("The smallest price ever."),
    "low_365_days": Member("The smallest price of the last 365 days."),
    "low_30_days": Member("The smallest price of the last 30 days."),
    "dearer_percent_ever": Member("100 × time in stock at a higher price / time in stock, ever.", 88.1, _PERCENT),
    "dearer_percent": Member("The same of the last 365 days.", 91.25, _PERCENT),
    "cheaper_percent": Member("The same, at a lower price.", 4.5, _PERCENT),
    "PriceVerdict.reduction": Member("That which the price comes from; null if it was raised last, or never changed."),
    "since": Member("Since when it had stood so.", _LATE),
    "Reduction.since": Member("When the price, which has only fallen since, first fell.", _LATE),
    "reference_price": Member("The lowest price of the 30 days before.", 5190),
    "reduction": Member("`reference_price` less the price now; not above 0 if it was as cheap then.", 200),
    "reduction_percent": Member("100 × `reduction` / `reference_price`; null if that is 0.", 3.85),
    # Movers
    "Mover.start_at": Member("The time that the price is compared with.", "2026-11-22T09:45:00Z"),
    "Mover.end_at": Member("Since when the price is what it is.", _LATE),
    # Changes
    "sequence": Member("Its number. Numbers grow, and some are left out.", 4711, {"minimum": 1}),
    "Change.at": Member("When its transaction began, by the database's clock: not in the order of the numbers.", _LATE),
    "kind": Member("What happened; `changed` is its name or description, `offers` what is offered for it.", "offers"),
    # Products created together
    "BatchCreated.status": Member("It was created.", 201),
    "BatchCreated.id": Member("The id of the product that was created.", _PRODUCT),
    "BatchNotCreated.status": Member("It was not created: the status of the problem.", 409),
    "location": Member("Where that is.", f"http://localhost:6543/products/{_PRODUCT}"),
    "problem": Member("Why it was not created. Its pointers are into the whole body."),
    # Offers at a time, and costs
    "OffersThen.resolution": Member("`day`: as of the end of a UTC day, whose steps are summed up.", "raw"),
    "OffersThen.state": Member("`not_observed`: these were in stock when they were last seen.", "observed"),
    "quantity": Member("How many units.", 10, {"minimum": 1}),
    "available_quantity": Member("How many of them there are.", 10, _COUNT),
    "complete": Member("Whether that is all that were asked for.", True),
    "cost": Member("The exact price of those; null if there are none. May be above 2^63.", 49900, {"format": None}),
    "lines": Member("Which offers they come from, the cheapest first."),
    # This document
    "openapi": Member("Which version of OpenAPI it keeps to.", "3.1.0"),
    "info": Member("What this is.", {"title": "productagg", "version": "0.1.0"}),
    "paths": Member("The operations, by path and method.", {}),
    "components": Member("What several of them refer to.", {}),
    "tags": Member("Their headings.", []),
    "OpenApi.security": Member("What they need unless they say otherwise: nothing.", []),
    # Login, health, errors
    "access_token": Member("To be sent as `Authorization: Bearer <access_token>`.", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbg"),
    "token_type": Member("What kind of token it is.", "Bearer"),
    "expires_in": Member("For how many seconds it is good.", 300, {"minimum": 1}),
    "Live.status": Member("The process answers.", "live"),
    "Ready.status": Member("Everything is in order.", "ready"),
    "database": Member("The database can be reached.", "ok"),
    "schema": Member("It has the tables that this version needs.", "ok"),
    "type": Member("Where the problem is explained.", "/problems/not-found"),
    "title": Member("What the problem is called.", "Not found"),
    "status": Member("The status of the answer.", 404, {"format": None}),
    "detail": Member("What is wrong this time, for people.", "There is nothing at this path."),
    "code": Member("What is wrong, for programs: stable.", "not-found"),
    "errors": Member("The faults of the fields, all of them."),
    "pointer": Member("Where in the body it is: a JSON Pointer.", "/name"),
    "parameter": Member("Which query parameter it is about.", "limit"),
    "Fault.detail": Member("What is wrong with it.", "must not be empty"),
    "advice": Member("What to do about it.", "There is nothing at this path."),
}
