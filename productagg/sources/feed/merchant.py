"""Items of Google Merchant's product data, in XML or tables, and of tables whose columns are mapped to its fields.

The rules: support.google.com/merchants/answer/7052112 (all attributes), 6324371 (price), 1196048 and 6324460
(sale_price and its dates), 6324448 (availability), 6324469 (condition: absent means new), 6324484 (shipping).
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from productagg.sources.feed.items import (
    Context,
    Fields,
    Price,
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
    stated_price,
)
from productagg.sources.vocabulary import Availability, Condition, parse_availability, parse_condition

_PRODUCT_FIELDS = ("title", "description", "image_link", "brand", "gtin", "product_type", "google_product_category")
_PRICE_FIELDS = ("price", "sale_price", "sale_price_effective_date")
# quantity and inventory are not standard, but common.
_OFFER_FIELDS = ("id", "link", "availability", "condition", "quantity", "inventory")
FIELDS = frozenset((*_PRODUCT_FIELDS, *_PRICE_FIELDS, *_OFFER_FIELDS))
SHIPPING = "shipping"
SHIPPING_FIELDS = frozenset(("country", "price"))
_SINGLE = frozenset(("id", "price", "sale_price", "availability"))
_availability = lru_cache(maxsize=256)(parse_availability)
_condition = lru_cache(maxsize=256)(parse_condition)


class MerchantReader:
    """Reads items by Google's rules."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def read(self, fields: Fields, parts: list[Fields], repeated: list[tuple[str, str]]) -> Row:
        """See ItemReader."""
        get = fields.get
        item_id = read_id(get("id", ""))
        if repeated:
            refuse_contradictions(fields, repeated, _SINGLE)
        price, currency, _ = self._price_to_pay(item_id, fields)
        availability = get("availability")
        return (
            item_id,
            item_id,
            price,
            currency,
            self._seller(fields),
            read_url(get("link")),
            self._condition(get("condition")),
            _availability(availability) if availability else self._missing_availability(fields),
            read_quantity(get("quantity") or get("inventory")),
            self._shipping(parts, currency) if parts else None,
            (
                read_text(get("title")),
                read_text(get("description")),
                read_gtin(get("gtin"), repeated),
                read_text(get("brand")),
                _category(get("google_product_category"), get("product_type")),
                read_url(get("image_link")),
            ),
        )

    def _price(self, text: str, fields: Fields) -> Price:
        return stated_price(text, self.context.currency)

    def _seller(self, fields: Fields) -> str:
        return self.context.seller

    def _condition(self, text: str | None) -> Condition:
        return _condition(text) if text else "new"

    def _missing_availability(self, fields: Fields) -> Availability:
        return "unknown"

    def _price_to_pay(self, item_id: str, fields: Fields) -> Price:
        """The lower of price and sale_price, if the sale is on."""
        text = fields.get("price", "").strip()
        if not text:
            raise Rejected("it has no price")
        price = self._price(text, fields)
        sale = fields.get("sale_price")
        if sale and (sale := sale.strip()) and self._is_on_sale(fields.get("sale_price_effective_date")):
            price = self._lower(item_id, price, sale, fields)
        if price[2]:
            self.context.doubt(item_id, "its price has a part of a minor unit, which was rounded")
        return price

    def _lower(self, item_id: str, price: Price, text: str, fields: Fields) -> Price:
        # Shops without a sale write 0.
        if shipping_cost(text, price[1]) == 0:
            return price
        sale = self._price(text, fields)
        if sale[1] != price[1]:
            raise Rejected(f"its price is in {price[1]}, its sale_price in {sale[1]}")
        if sale[0] > price[0]:
            self.context.doubt(item_id, "its sale_price is higher than its price; the lower one was taken")
            return price
        return sale

    def _is_on_sale(self, window: str | None) -> bool:
        if not window or not window.strip():
            return True
        start, end = _window(window)
        self.context.changes(start)
        self.context.changes(end)
        return start <= self.context.now < end

    def _shipping(self, parts: list[Fields], currency: str) -> int | None:
        """The lowest for the configured country; without one, for the only country that there is."""
        country = self.context.country
        if country is None:
            country = _country(parts[0])
            if any(_country(part) != country for part in parts):
                return None
        return lowest(
            [shipping_cost(part.get("price", ""), currency) for part in parts if _country(part) in (country, "")]
        )


class MappedReader(MerchantReader):
    """Reads rows of any table: nothing is defined, so that ambiguous prices are refused and no condition is assumed."""

    def _price(self, text: str, fields: Fields) -> Price:
        return loose_price(text, fields.get("currency", "").strip() or self.context.currency)

    def _seller(self, fields: Fields) -> str:
        return read_text(fields.get("seller")) or self.context.seller

    def _condition(self, text: str | None) -> Condition:
        return _condition(text) if text else "unknown"

    def _missing_availability(self, fields: Fields) -> Availability:
        quantity = read_quantity(fields.get("quantity"))
        if quantity is None:
            return "unknown"
        return "in_stock" if quantity else "out_of_stock"


def _country(part: Fields) -> str:
    return part.get("country", "").strip().upper()


def shipping_parts(text: str) -> list[Fields]:
    """The shipping column of a table: `country:region:service:price`, several separated by commas."""
    parts = []
    for entry in text.split(","):
        country, *middle = entry.split(":")
        if middle:
            parts.append({"country": country, "price": middle[-1]})
    return parts


def _category(taxonomy: str | None, of_the_shop: str | None) -> str | None:
    """Google's category, which all shops share, unless it is given as a number; else the shop's own."""
    text = read_text(taxonomy)
    return text if text and not text.isdigit() else read_text(of_the_shop)


@lru_cache(maxsize=256)
def _window(text: str) -> tuple[datetime, datetime]:
    """When a sale begins and ends: two times of ISO 8601, the offset with or without its colon; UTC without one."""
    first, _, last = text.partition("/")
    try:
        start, end = (datetime.fromisoformat(part.strip()) for part in (first, last))
    except ValueError:
        raise Rejected(f"its sale_price_effective_date {text.strip()[:60]!r} is not an interval") from None
    if len(last.strip()) == len("2016-02-29"):
        end += timedelta(days=1)
    return tuple(at if at.tzinfo else at.replace(tzinfo=UTC) for at in (start, end))  # type: ignore[return-value]
