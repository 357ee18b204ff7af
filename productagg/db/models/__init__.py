"""The tables. The migrations in alembic/ create them; CI checks that models and migrations agree.

The key of every per-product table begins with product_id: one product's rows lie together and no second index is
needed. There are no ORM relationships: queries select what they need, and the database cascades a product's removal.
"""

from productagg.db.models.accounts import IdempotencyKey, LoginCounter, User
from productagg.db.models.base import Base, UtcDateTime
from productagg.db.models.catalog import (
    BRAND_MAX_LENGTH,
    CATEGORY_MAX_LENGTH,
    DESCRIPTION_MAX_LENGTH,
    IMAGE_URL_MAX_LENGTH,
    NAME_MAX_LENGTH,
    Catalogue,
    Product,
    ProductChange,
    ProductSummary,
)
from productagg.db.models.history import (
    AVAILABILITIES,
    CONDITIONS,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    PriceCorrection,
    ProductPrice,
    ProductPriceDay,
)
from productagg.db.models.sources import (
    AT_OFFERS_SERVICE,
    LAST_OBSERVED_AT,
    OFFERS_SOURCE,
    OFFERS_SOURCE_LITERAL,
    REGISTRATIONS,
    ProductSource,
    Source,
    UnmatchedItem,
)
from productagg.db.models.sync import SyncRun, UpstreamToken

# The migration that creates these tables. The programs refuse to run on any other (see startup_checks.check_schema).
SCHEMA_REVISION = "0007"

__all__ = [
    "AT_OFFERS_SERVICE",
    "AVAILABILITIES",
    "BRAND_MAX_LENGTH",
    "CATEGORY_MAX_LENGTH",
    "CONDITIONS",
    "DESCRIPTION_MAX_LENGTH",
    "IMAGE_URL_MAX_LENGTH",
    "LAST_OBSERVED_AT",
    "NAME_MAX_LENGTH",
    "OFFERS_SOURCE",
    "OFFERS_SOURCE_LITERAL",
    "REGISTRATIONS",
    "SCHEMA_REVISION",
    "Base",
    "Catalogue",
    "HistoryProgress",
    "IdempotencyKey",
    "LoginCounter",
    "Offer",
    "OfferPrice",
    "OfferPriceDay",
    "PriceCorrection",
    "Product",
    "ProductChange",
    "ProductPrice",
    "ProductPriceDay",
    "ProductSource",
    "ProductSummary",
    "Source",
    "SyncRun",
    "UnmatchedItem",
    "UpstreamToken",
    "User",
    "UtcDateTime",
]
