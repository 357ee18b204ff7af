"""Describes the members of JSON responses, with examples, for the document at /openapi.json.

`response_schemas.py` looks a member up as `Schema.member` first, then by its name alone. So a name means the same in
every response, unless there is an entry for the schema.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from productagg.history.series import RESOLUTIONS

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Member(NamedTuple):
    """`example` `...` means: take it from the member's schema. `schema` narrows the type's schema."""

    description: str
    example: Any = ...
    schema: Mapping[str, Any] = _NOTHING


_PRODUCT = "019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10"
_RUN = "019aa3f8-1b2c-7a90-8f3d-4e5a6b7c8d90"
_SOURCE = "019aa3f0-5d4c-7b32-8a61-1f2e3d4c5b6a"
_OFFER = "5f1c2b7a-3f0e-4d8e-9d2b-6a7f0c1e2d3b"
_EARLY, _LATE, _NOW = "2026-11-16T08:30:00Z", "2026-11-23T09:41:07.250000Z", "2026-11-23T10:00:00Z"
_HOUR = "2026-11-23T09:00:00Z"
_MONTH_AGO = "2026-10-24T10:00:00Z"

_RESOLUTION = {"enum": list(RESOLUTIONS)}
_STATE = {"enum": ["in_stock", "sold_out", "not_observed"]}
_PERCENT = {"minimum": 0, "maximum": 100}
_COUNT = {"minimum": 0}
_CURRENCY = {"pattern": "^[A-Z]{3}$"}

MEMBERS: dict[str, Member] = {
    # Products and offers
    "id": Member("The product's id, a UUID. Ids sort in the order of creation.", _PRODUCT),
    "product_id": Member("The product's id.", _PRODUCT),
    "name": Member("The product's name, which is unique.", "Brass desk lamp"),
    "description": Member("The product's description.", "Shines on the desk, not in the eyes."),
    "created_at": Member("When the product was created.", _EARLY),
    "gtin": Member("The number under the bar code: 8, 13 or 14 digits; null if not known.", "4006381333931"),
    "brand": Member("The brand; null if not known.", "Halvorn"),
    "category": Member("The category, as text; null if not known.", "Lighting > Desk lamps"),
    "image_url": Member("The URL of an image; null if not known.", "https://images.example/brass-desk-lamp.jpg"),
    "updated_at": Member(
        "When the product was last edited: its name, description, GTIN, brand, category or image.", _EARLY
    ),
    "registration": Member(
        "Registration at the Offers service. `pending`: not yet registered. `failed`: the service refused the data; "
        "registration is retried.",
        "registered",
    ),
    "last_synced_at": Member("When the Offers service last sent a complete, valid list of offers.", _NOW),
    "last_changed_at": Member("When a list of offers last brought a change.", _LATE),
    "lowest_price": Member(
        "The current price: the lowest price of an offer in stock; null if nothing is in stock.", 4990
    ),
    "offer_count": Member("Number of offers in stock.", 3, _COUNT),
    "change_24h": Member("`lowest_price` minus its value 24 hours ago; null if either is missing.", -500),
    "change_24h_percent": Member(
        "100 × `change_24h` / the price 24 hours ago, rounded to two decimals; null if either price is missing or the "
        "earlier price was 0.",
        -9.11,
    ),
    "offers": Member("The offers, cheapest first; those in the catalogue's currency before all others."),
    "sync": Member("The state of the product's synchronisation. Only in responses to admins."),
    "Offer.id": Member("The offer's id.", _OFFER),
    "OfferAt.id": Member("The offer's id.", _OFFER),
    "offer_id": Member("The offer's id.", _OFFER),
    "Offer.source": Member("The name of the source that lists it.", "lamp-house"),
    "external_id": Member("The offer's id at its source; null if that is `id`.", None),
    "seller": Member("Who sells it; null if the source does not say.", "Lamp House"),
    "url": Member("Where to buy it; null if the source does not say.", "https://lamps.example/desk-lamp"),
    "condition": Member("The condition of what is sold.", "new"),
    "currency": Member(
        "The currency of all prices beside it (ISO 4217); they are whole numbers of its minor unit.",
        "EUR",
        _CURRENCY,
    ),
    "comparable": Member(
        "Whether `currency` is the catalogue's. Other offers have no part in the product's prices, statistics and "
        "filters.",
        True,
    ),
    "shipping": Member("The price of shipping; 0: free; null if the source does not say.", 490, _COUNT),
    "availability": Member("What the source says about the availability; `unknown` is not in stock.", "in_stock"),
    "price": Member("The price of one unit.", 4990),
    "items_in_stock": Member(
        "Number of units in stock, as far as sources tell it: offers in stock without a number add nothing.", 12
    ),
    "Offer.items_in_stock": Member("Number of units, as the source tells it; null if it tells none.", 12, _COUNT),
    "OfferAt.items_in_stock": Member("Number of units in stock; null if the source told none.", 12),
    "OfferStep.items_in_stock": Member(
        "Number of units in stock; null if it was in stock and the source told no number.", 12, _COUNT
    ),
    "OfferBucket.items_in_stock": Member(
        "Number of units in stock at the end of the point; null if it was in stock and the source told no number.",
        12,
        _COUNT,
    ),
    "quarantined": Member("The price that the source lists, while it is held back; null if it is not.", None),
    "Quarantined.price": Member("The price that is held back, in the offer's currency.", 499000, _COUNT),
    "Quarantined.reason": Member("`zero`: the price is 0. `jump`: it is too far from the offer's `price`.", "jump"),
    "Quarantined.since": Member("When the source first listed it.", _LATE, {"format": "date-time"}),
    "Quarantined.seen": Member("In how many lists, one after the other, it has been; the third is believed.", 2),
    "Quarantined.rejected": Member("Whether an admin rejected it: it stays held back in all lists.", False),
    "PriceCorrection.id": Member("The correction's id.", "019aa3f8-2c3d-7b10-9e4f-5a6b7c8d9e01"),
    "PriceCorrection.at": Member("When it was made.", _NOW),
    "PriceCorrection.username": Member("The admin who made it.", "admin"),
    "PriceCorrection.from": Member("The prices recorded from then on were wrong.", _EARLY),
    "PriceCorrection.until": Member("The first time at which they were right again.", _LATE),
    "PriceCorrection.price": Member("The right price; null: the price before stayed in force.", None, _COUNT),
    "PriceCorrection.reason": Member("Why they were wrong.", "The shop listed cents as euros."),
    "PriceCorrection.changes": Member("The recorded prices, in the order of their times."),
    "CorrectedPrice.at": Member("When the price was recorded.", _EARLY),
    "CorrectedPrice.old_price": Member("The price as it was recorded.", 499000, _COUNT),
    "CorrectedPrice.new_price": Member("The price now.", 4990, _COUNT),
    "first_seen_at": Member("When the offer first appeared in a list.", _EARLY),
    "changed_at": Member("When a member last changed, or the offer was closed.", _LATE),
    "closed_at": Member("When the offer disappeared from the list; null while it is offered.", None),
    # The state of a product's synchronisation
    "registered_at": Member("When the product was registered at the Offers service.", "2026-11-16T08:30:01Z"),
    "last_asked_at": Member("When the Offers service was last asked for offers, successfully or not.", _NOW),
    "next_sync_at": Member("When the Offers service will be asked next.", "2026-11-23T10:01:00Z"),
    "next_sync_reason": Member("The reason for `next_sync_at`, as text.", "its regular turn"),
    "leased_until": Member("End of the current worker's lease; null without one.", None),
    "ProductSync.failures": Member("Number of failures since the last success.", 0, _COUNT),
    "last_error": Member("The reason for the last failure; null after a success.", None),
    # Sources
    "Source.id": Member("The source's id, a UUID.", _SOURCE),
    "source_id": Member("The source's id.", _SOURCE),
    "Source.kind": Member("Which adapter reads the source.", "jsonld"),
    "Source.name": Member("The source's name, which is unique.", "Lumen shop"),
    "configuration": Member("What the adapter needs to know; each kind has members of its own.", {"currency": "EUR"}),
    "secret_variable": Member("The name of the environment variable that holds the secret; null: none.", "LUMEN_TOKEN"),
    "interval_seconds": Member("How often to fetch, in seconds; null: as the settings say.", 3600),
    "requests_per_second": Member("The most requests a second to the source; null: no limit of its own.", 2.0),
    "enabled": Member("Whether the sync asks the source.", True),
    "creates_products": Member("Whether items of the document that belong to no product become products.", False),
    "products": Member("Number of products that have the source.", 240, _COUNT),
    "failing_products": Member("Number of products whose last request to the source failed.", 2, _COUNT),
    "open_offers": Member("Number of current offers of the source.", 236, _COUNT),
    "item_count": Member("Number of items of the last complete document; null for other sources.", None),
    "unmatched_count": Member("Number of items of that document that belong to no product.", None),
    "Source.last_asked_at": Member("When the document was last asked for; null for other sources.", None),
    "Source.last_synced_at": Member("When the document was last complete; null for other sources.", None),
    "Source.next_sync_at": Member("When the document will be asked for next; null for other sources.", None),
    "Source.failures": Member("Number of failures of the document since its last success.", 0, _COUNT),
    "blocked_until": Member("Until then the source wants no requests; null: it does not say so.", None),
    "blocked_reason": Member("Why it is blocked.", None),
    "Source.created_at": Member("When the source was created.", _EARLY),
    "Source.updated_at": Member("When one of its values last changed.", _EARLY),
    # A product at its sources
    "source": Member("The source's name.", "Lumen shop"),
    "ProductSource.kind": Member("Which adapter reads the source.", "jsonld"),
    "locator": Member(
        "Which of the source's products it is; null: the one with our product's id.",
        "https://lumen.example/brass-desk-lamp",
    ),
    "ProductSource.last_asked_at": Member("When the source was last asked for it, successfully or not.", _NOW),
    "ProductSource.last_synced_at": Member("When the source last listed its offers.", _NOW),
    "ProductSource.next_sync_at": Member("When the source will be asked next.", "2026-11-23T11:00:00Z"),
    "ProductSource.failures": Member("Number of failures since the last success.", 0, _COUNT),
    # Tests of sources
    "outcome": Member(
        "`complete`: these are all offers. `incomplete`: there may be more. `failed`: the source could not be read to "
        "its end.",
        "complete",
    ),
    "reason": Member("Why it is not complete, for people.", None),
    "SourceTest.code": Member("The same as a word, for programs.", None),
    "retry_at": Member("Before this time, the source wants no request.", None),
    "duration_seconds": Member("How long the test took, in seconds.", 0.412),
    "SourceTest.offer_count": Member("Number of offers.", 1, _COUNT),
    "SourceTest.offers": Member("The first 20 offers."),
    "rejected_count": Member("Number of items that could not be understood.", 0, _COUNT),
    "rejected": Member("The first 20 of them."),
    "remark_count": Member("Number of offers that were understood with a doubt.", 0, _COUNT),
    "remarks": Member("The first 20 doubts."),
    "SourceOffer.external_id": Member("What identifies the offer at its source.", "LMN-0042"),
    "SourceOffer.seller": Member("Who sells it.", "Lumen"),
    "SourceOffer.items_in_stock": Member("Number of units, as the source tells it; null if it tells none.", 12),
    "product": Member("What the source says about the product itself."),
    "SourceProduct.name": Member("The product's name; null if the source does not say.", "Brass desk lamp"),
    "SourceProduct.description": Member("Its description; null if the source does not say.", None),
    "item": Member("The item's id, or where it stands.", "LMN-0043"),
    "SourceRemark.reason": Member("Why it was rejected, or how it was understood.", "it has no price"),
    # Sync runs
    "SyncRun.id": Member("The run's id, a UUID. Ids sort in the order in which runs start.", _RUN),
    "host": Member("The host on which the run took place.", "sync-1"),
    "started_at": Member("When the run began.", "2026-11-23T10:00:01Z"),
    "finished_at": Member("When the run ended; null until then.", "2026-11-23T10:00:14Z"),
    "leased": Member("Number of products that the run leased.", 250, _COUNT),
    "fetched": Member("Number of products for which it got a complete, valid list of offers.", 249, _COUNT),
    "changed": Member("Number of products whose offers differed from before.", 118, _COUNT),
    "closed": Member("Number of offers that disappeared.", 3, _COUNT),
    "failed": Member("Number of products for which it got no complete, valid list.", 1, _COUNT),
    "failures": Member("Number of failed products by reason code.", {"status_500": 1}),
    "requests": Member("Number of requests sent to the Offers service.", 250, _COUNT),
    "bytes": Member("Number of bytes exchanged with the Offers service.", 61432, _COUNT),
    "longest_wait_seconds": Member("How long the most overdue product had been due, in seconds.", 1.2),
    "ended_by": Member(
        "Why the run ended: `done`, `budget` (its time was up), `interrupted`, `crashed`, or the reason why it could "
        "not continue; null while it runs.",
        "done",
    ),
    "SyncRun.sources": Member(
        "What the run did at each source that it asked; empty until it ends, and for runs before the upgrade."
    ),
    "SourceRun.source_id": Member("The source's id.", "00000000-0000-7000-8000-000000000001"),
    "SourceRun.name": Member("The source's name, as it was at that time.", "offers"),
    "SourceRun.seconds": Member("How long that took.", 12.9),
    "SourceRun.ended_by": Member("Like the run's `ended_by`, for this source.", "done"),
    "SyncRun.state": Member("`lost`: the run is overdue and never reported its end.", "finished"),
    # Windows and series
    "from": Member("Start of the window, aligned to the resolution.", _MONTH_AGO),
    "to": Member("End of the window, exclusive.", _NOW),
    "resolution": Member("The resolution of the data behind the response; `raw` is exact.", "raw", _RESOLUTION),
    "points": Member("The points in chronological order, 1,000 at most."),
    "at": Member("The time that the response describes.", _NOW),
    "ProductStep.at": Member("When this state began.", _LATE),
    "OfferStep.at": Member("When this state began.", _LATE),
    "ProductBucket.at": Member("Start of the hour, day or week.", _HOUR),
    "OfferBucket.at": Member("Start of the hour, day or week.", _HOUR),
    "ProductBuckets.resolution": Member("The length of each point.", "hour"),
    "OfferBuckets.resolution": Member("The length of each point.", "hour"),
    "Extreme.at": Member("When the price first held within the window.", _LATE),
    "state": Member(
        "Whether there was a price: `in_stock`, `sold_out`, or `not_observed` (unknown).", "in_stock", _STATE
    ),
    "lowest": Member("The lowest price of an offer in stock; null if nothing was in stock.", 4990),
    "average": Member("The mean price of the offers in stock, rounded half up; null if nothing was in stock.", 5240),
    "ProductStep.offers": Member("Number of offers.", 3, _COUNT),
    "ProductBucket.offers": Member("Number of offers at the end of the point.", 3, _COUNT),
    "OfferStep.price": Member("The offer's price; null if it was not in stock.", 4990),
    "OfferBucket.price": Member("The offer's lowest price while in stock; null if it was never in stock.", 4990),
    "open": Member("The first price while in stock.", 5190),
    "close": Member("The last price while in stock.", 4990),
    "highest": Member("The highest price while in stock.", 5190),
    "ProductBucket.mean": Member("The time-weighted mean of the price while in stock.", 5062.5),
    "OfferBucket.mean": Member("The time-weighted mean of the price while in stock.", 5062.5),
    "in_stock_seconds": Member("Time in stock, in seconds.", 3600.0),
    "observed_seconds": Member("Time observed, in seconds.", 3600.0),
    "ProductBucket.changes": Member("Number of price changes.", 2, _COUNT),
    "OfferBucket.changes": Member("Number of price changes.", 2, _COUNT),
    # Trend
    "metric": Member("The price that the trend describes.", "lowest", {"enum": ["lowest", "average"]}),
    "start_price": Member("The price at the start of the window; null if it was sold out or not observed.", 5490),
    "end_price": Member("The price at the end of the window; null if it was sold out or not observed.", 4990),
    "change": Member("`end_price` − `start_price`; null if either is null.", -500),
    "change_percent": Member("100 × `change` / `start_price`, rounded to two decimals; null if either is null.", -9.11),
    "direction": Member("The sign of `change`; null if that is null.", "down"),
    "minimum": Member("The smallest price while in stock."),
    "maximum": Member("The largest price while in stock."),
    "mean": Member("The time-weighted mean of the price; null if it was never in stock.", 5180.4),
    "median": Member("The time-weighted median of the price; null if it was never in stock.", 5190.0),
    "out_of_stock_percent": Member(
        "100 × time sold out / time observed; null if it was never observed.", 2.5, _PERCENT
    ),
    "observed_percent": Member("100 × time observed / length of the window.", 99.93, _PERCENT),
    "longest_gap_seconds": Member("The longest time without an observation, after the first one, in seconds.", 0.0),
    "changes": Member("Number of price changes, including those to and from sold out.", 41, _COUNT),
    # Verdict
    "resolution_ever": Member("The resolution of the data behind the all-time figures.", "raw", _RESOLUTION),
    "PriceVerdict.price": Member("The current lowest price; null if nothing is in stock.", 4990),
    "verdict": Member(
        "Whether the price is good; `insufficient_history`: too little is known to say; null without a price.", "good"
    ),
    "enough_at": Member(
        "With `insufficient_history`: the earliest time at which there is enough history; otherwise null.", None
    ),
    "confidence": Member("`low` if `reasons` lists any.", "high"),
    "reasons": Member("Reasons not to rely on the verdict.", []),
    "all_time_low": Member("The smallest price of all time."),
    "low_365_days": Member("The smallest price of the last 365 days."),
    "low_30_days": Member("The smallest price of the last 30 days."),
    "dearer_percent_ever": Member(
        "100 × time in stock at a higher price / time in stock, of all time.", 88.1, _PERCENT
    ),
    "dearer_percent": Member("`dearer_percent_ever` for the last 365 days.", 91.25, _PERCENT),
    "cheaper_percent": Member(
        "100 × time in stock at a lower price / time in stock, in the last 365 days.", 4.5, _PERCENT
    ),
    "PriceVerdict.price_drop": Member(
        "How the price fell to the current one; null if it last rose or never changed. Not a prior price under EU law: "
        "offers have that."
    ),
    "since": Member("When the price began to hold.", _LATE),
    "PriceDrop.since": Member("When the price first fell; it has not risen since.", _LATE),
    "low_30_days_before": Member("The product's lowest price in the 30 days before `since`.", 5190),
    "drop": Member("`low_30_days_before` − the current price; 0 or negative if the price was as low before.", 200),
    "drop_percent": Member("100 × `drop` / `low_30_days_before`; null if that is 0.", 3.85),
    # Prior prices
    "OfferPriorPrice.price": Member("The offer's price now; null if it is not in stock or not observed.", 4990),
    "is_reduced": Member("Whether the price is below `prior_price`; null if that cannot be told.", True),
    "prior_price": Member(
        "The offer's lowest price in the 30 days before `fell_at` (Directive 98/6/EC, Article 6a); null if it did not "
        "fall.",
        5190,
    ),
    "fell_at": Member("When the price first fell; it has not risen since. Null if it did not fall.", _LATE),
    "reduction": Member("`prior_price` − `price`; null if it is not reduced.", 200),
    "reduction_percent": Member("100 × `reduction` / `prior_price`; null if it is not reduced.", 3.85),
    "OfferPriorPrice.reasons": Member("Reasons not to rely on the answer.", []),
    "Reason.code": Member("Stable code of the reason.", "gaps"),
    "text": Member("The reason, for people.", "it was not observed for 2.0 days in all"),
    "PriorPriceFound.status": Member("The prior price was looked up.", 200),
    "result": Member("The offer and its prior price."),
    "PriorPriceNotFound.status": Member("There is no such offer: the status of the problem.", 404),
    "PriorPriceNotFound.problem": Member("Why there is no answer for this offer."),
    # Movers
    "Mover.start_at": Member("The time of the price that is compared with.", "2026-11-22T09:45:00Z"),
    "Mover.end_at": Member("When the current price began to hold.", _LATE),
    # Change feed
    "sequence": Member("The number of the change. Numbers increase, with gaps.", 4711, {"minimum": 1}),
    "Change.at": Member(
        "When the change's transaction began, by the database's clock. Not necessarily in the order of `sequence`.",
        _LATE,
    ),
    "kind": Member("What happened. `changed`: the product was edited; `offers`: the offers.", "offers"),
    # Items of no product
    "UnmatchedItem.locator": Member("The item's id at the source. A product can be linked by it.", "LAMP-7"),
    "UnmatchedItem.name": Member("The name that the source states, cut to 200 characters; null if none.", "Desk lamp"),
    "UnmatchedItem.reason": Member(
        "No product has the locator, and `no_gtin`: the item states no GTIN; `gtin_unknown`: no product has its GTIN. "
        "Of a source that makes products of items: `no_name`; `name_refused`: no product can have this name; "
        "`name_taken`: a product has the name, and another GTIN or brand.",
        "gtin_unknown",
    ),
    # Batch creation
    "BatchCreated.status": Member("The product was created.", 201),
    "BatchCreated.id": Member("The id of the created product.", _PRODUCT),
    "BatchNotCreated.status": Member("The product was not created: the status of the problem.", 409),
    "location": Member("The URL of the created product.", f"http://localhost:6543/products/{_PRODUCT}"),
    "problem": Member("Why the product was not created. Its pointers refer to the whole body of the request."),
    # Offers at a time, and the cost of several units
    "OffersAt.resolution": Member(
        "`raw`: exact. `day`: as of the end of a UTC day, since that day is summarised.", "raw"
    ),
    "OffersAt.state": Member("`not_observed`: the listed offers were in stock when last observed.", "observed"),
    "quantity": Member("Number of units.", 10, {"minimum": 1}),
    "available_quantity": Member(
        "Number of units in stock, at most `quantity`. An offer without a number counts as one unit.", 10, _COUNT
    ),
    "complete": Member("Whether `available_quantity` equals `quantity`.", True),
    "cost": Member(
        "The exact price of the available units; null if there are none. May exceed 2^63.", 49900, {"format": None}
    ),
    "lines": Member("The offers that supply the units, cheapest first."),
    # This document
    "openapi": Member("The version of OpenAPI.", "3.1.0"),
    "info": Member("Title, version, description and licence.", {"title": "productagg", "version": "0.1.0"}),
    "paths": Member("The operations, by path and method.", {}),
    "components": Member("Schemas, parameters, headers and responses that operations refer to.", {}),
    "tags": Member("The groups of operations.", []),
    "OpenApi.security": Member("The default security requirement: none.", []),
    # Login, health, errors
    "access_token": Member("Send it as `Authorization: Bearer <access_token>`.", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbg"),
    "token_type": Member("The type of the token.", "Bearer"),
    "expires_in": Member("Lifetime of the token, in seconds.", 300, {"minimum": 1}),
    "Live.status": Member("The process responds.", "live"),
    "Ready.status": Member("The service is ready for requests.", "ready"),
    "database": Member("The database can be reached.", "ok"),
    "schema": Member("The database has the tables that this version needs.", "ok"),
    "type": Member("URL of an explanation of the problem.", "/problems/not-found"),
    "title": Member("Short name of the problem.", "Not found"),
    "status": Member("The HTTP status.", 404, {"format": None}),
    "detail": Member("What is wrong with this request, for people.", "There is nothing at this path."),
    "code": Member("Stable error code, for programs.", "not-found"),
    "errors": Member("All invalid fields."),
    "pointer": Member("The invalid field: a JSON Pointer into the body.", "/name"),
    "parameter": Member("The invalid query parameter.", "limit"),
    "Fault.detail": Member("What is wrong with the field.", "must not be empty"),
    "advice": Member("How to fix the problem.", "There is nothing at this path."),
}
