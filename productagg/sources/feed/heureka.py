"""Items of Heureka's and Zboží's product feeds, which share their elements.

Sources: github.com/heureka/xml-feed-specs (docs/fields), and Zboží's schema for DUES and a DELIVERY_DATE of -1. Neither
states a currency.
"""

import re
from datetime import UTC, date, datetime
from functools import lru_cache

from productagg.sources.feed.items import (
    Context,
    Fields,
    Rejected,
    Row,
    loose_price,
    lowest,
    read_gtin,
    read_id,
    read_quantity,
    read_text,
    read_url,
    refuse_contradictions,
    shipping_cost,
)
from productagg.sources.vocabulary import Availability, Condition

_PRODUCT_FIELDS = ("PRODUCTNAME", "PRODUCT", "DESCRIPTION", "IMGURL", "MANUFACTURER", "CATEGORYTEXT", "EAN")
_OFFER_FIELDS = ("ITEM_ID", "VARIANTID", "URL", "PRICE_VAT", "DUES", "ITEM_TYPE", "DELIVERY_DATE", "STOCK")
FIELDS = frozenset((*_PRODUCT_FIELDS, *_OFFER_FIELDS))
DELIVERY = "DELIVERY"
DELIVERY_FIELDS = frozenset(("DELIVERY_ID", "DELIVERY_PRICE"))
_SINGLE = frozenset(("ITEM_ID", "VARIANTID", "PRICE_VAT", "DUES", "DELIVERY_DATE", "ITEM_TYPE"))
_CARRIER = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
_CONDITIONS: dict[str, Condition] = {"": "new", "new": "new", "bazar": "used", "bazaar": "used"}
_DAYS = re.compile(r"\d{1,3}", re.ASCII)


class HeurekaReader:
    """Reads items by Heureka's rules; where it differs, by Zboží's."""

    def __init__(self, context: Context, *, adds_dues: bool) -> None:
        self.context = context
        self._adds_dues = adds_dues
        self._availability = lru_cache(maxsize=256)(self._read_availability)

    def read(self, fields: Fields, parts: list[Fields], repeated: list[tuple[str, str]]) -> Row:
        """See ItemReader."""
        get = fields.get
        item_id = read_id(get("ITEM_ID", ""))
        if variant := get("VARIANTID", "").strip():
            # Variants share the ITEM_ID of their product, and each is sold under its own price.
            item_id = read_id(f"{item_id}:{variant}")
        if repeated:
            refuse_contradictions(fields, repeated, _SINGLE)
        price, currency = self._price(item_id, fields)
        return (
            item_id,
            item_id,
            price,
            currency,
            self.context.seller,
            read_url(get("URL")),
            _CONDITIONS.get(get("ITEM_TYPE", "").strip().lower(), "unknown"),
            self._availability(get("DELIVERY_DATE", "").strip().lower()),
            read_quantity(get("STOCK")),
            lowest(_delivery_cost(part, currency) for part in parts) if parts else None,
            (
                read_text(get("PRODUCTNAME") or get("PRODUCT")),
                read_text(get("DESCRIPTION")),
                read_gtin(get("EAN"), repeated, "EAN"),
                read_text(get("MANUFACTURER")),
                read_text(get("CATEGORYTEXT")),
                read_url(get("IMGURL")),
            ),
        )

    def _price(self, item_id: str, fields: Fields) -> tuple[int, str]:
        text = fields.get("PRICE_VAT", "").strip()
        if not text:
            raise Rejected("it has no PRICE_VAT")
        price, currency, is_lossy = loose_price(text, self.context.currency)
        if is_lossy:
            self.context.doubt(item_id, "its price has a part of a minor unit, which was rounded")
        dues = fields.get("DUES", "").strip() if self._adds_dues else ""
        if dues:
            more = shipping_cost(dues.replace(",", "."), currency)
            if more is None:
                raise Rejected(f"its DUES {dues[:40]!r} cannot be read")
            price += more
        return price, currency

    def _read_availability(self, text: str) -> Availability:
        if text == "ihned":
            return "in_stock"
        if _DAYS.fullmatch(text):
            return "in_stock" if int(text) <= self.context.in_stock_days else self.context.beyond
        try:
            day = date.fromisoformat(text[:10])
        except ValueError:
            return "unknown"
        # That the goods were to arrive on a day that is over says nothing.
        self.context.changes(datetime(day.year, day.month, day.day, tzinfo=UTC))
        return "preorder" if day > self.context.now.date() else "unknown"


def _delivery_cost(part: Fields, currency: str) -> int | None:
    # Exports of other comparison sites write sentences where the carrier belongs.
    if not _CARRIER.fullmatch(part.get("DELIVERY_ID", "").strip()):
        return None
    return shipping_cost(part.get("DELIVERY_PRICE", "").strip().replace(",", "."), currency)
