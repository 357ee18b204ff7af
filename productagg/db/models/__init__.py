"""The tables. The migrations in alembic/ create them; CI checks that models and migrations agree.

The key of every per-product table begins with product_id: one product's rows lie together and no second index is
needed. There are no ORM relationships: queries select what they need, and the database cascades a product's removal.
"""

from productagg.db.models.accounts import IdempotencyKey, LoginCounter, User
from productagg.db.models.base import Base, UtcDateTime
from productagg.db.models.catalog import (
    DESCRIPTION_MAX_LENGTH,
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
    ProductPrice,
    ProductPriceDay,
)
from productagg.db.models.sync import REGISTRATIONS, ProductSync, SyncRun, UpstreamToken

# The migration that creates these tables. The programs refuse to run on any other (see startup_checks.check_schema).
SCHEMA_REVISION = "0002"

__all__ = [
    "AVAILABILITIES",
    "CONDITIONS",
    "DESCRIPTION_MAX_LENGTH",
    "NAME_MAX_LENGTH",
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
    "Product",
    "ProductChange",
    "ProductPrice",
    "ProductPriceDay",
    "ProductSummary",
    "ProductSync",
    "SyncRun",
    "UpstreamToken",
    "User",
    "UtcDateTime",
]
