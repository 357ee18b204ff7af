"""One item of the JSON becomes an offer, or the reason why it is none."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from productagg.sources.base import ProductFacts, SourceOffer
from productagg.sources.json_api import values
from productagg.sources.json_api.expressions import EvaluationError, Expression
from productagg.sources.prices import NoPrice, ZeroPrice

_MAX_NAME, _MAX_SELLER = 500, 200
_Value = TypeVar("_Value")


class Rejected(ValueError):
    """The item is no offer. `is_doubtful`: it may have been meant as one; otherwise it clearly states no price."""

    def __init__(self, reason: str, *, is_doubtful: bool = True) -> None:
        super().__init__(reason)
        self.is_doubtful = is_doubtful


class Read(NamedTuple):
    """An offer, and what is odd about it."""

    offer: SourceOffer
    remarks: list[str]


class ItemReader:
    """Reads the items of one fetch."""

    def __init__(self, configuration: Mapping[str, Any], source_name: str, locator: str | None) -> None:
        """`locator` is that of all offers, or None if each item states its own."""
        self._locator = locator
        self._seller: str = configuration["seller"] or source_name
        self._currency: str | None = configuration["currency"]
        self._price_format: str = configuration["price_format"]
        self._meanings = configuration["availability_values"] or {}
        self._expressions = {
            field: Expression(f"fields.{field}", text)
            for field, text in configuration["fields"].items()
            if text is not None
        }

    def is_of_this_product(self, item: Any) -> bool:
        """Whether the item is of the product that was asked for, as far as it says. Raises EvaluationError."""
        if self._locator is None or "locator" not in self._expressions:
            return True
        stated = self._evaluate("locator", item)
        return str(stated).strip() == self._locator

    def name_of(self, item: Any) -> str | None:
        """The item's id, if it can be read."""
        try:
            return values.read_id(self._evaluate("external_id", item))
        except (EvaluationError, ValueError):
            return None

    def read(self, item: Any, base: str) -> Read:
        """`base` is what addresses are relative to. Raises Rejected."""
        try:
            return self._read(item, base)
        except EvaluationError as error:
            raise Rejected(str(error)) from None

    def _read(self, item: Any, base: str) -> Read:
        external_id = self._required("external_id", values.read_id, item)
        locator = self._locator or self._required("locator", values.read_id, item)
        scale = self._required("price_scale", values.read_scale, item) if self._price_format == "scaled" else None
        price, currency, is_lossy = self._price(item, scale)
        fields = _OptionalFields(self._evaluate, item)
        if is_lossy:
            fields.remarks.append("price: it has more digits than its currency, and was rounded")

        def address(value: Any) -> str | None:
            return values.read_address(value, base)

        offer = SourceOffer(
            locator=locator,
            external_id=external_id,
            price=price,
            currency=currency,
            seller=(fields.get("seller", values.read_text) or self._seller)[:_MAX_SELLER],
            url=fields.get("url", address),
            condition=fields.get("condition", values.read_condition) or "unknown",
            availability=fields.get("availability", lambda value: values.read_availability(value, self._meanings))
            or "unknown",
            items_in_stock=fields.get("items_in_stock", values.read_quantity),
            shipping=fields.get(
                "shipping", lambda value: values.read_shipping(value, currency, self._price_format, scale)
            ),
            product=ProductFacts(
                name=_cut(fields.get("name", values.read_text)),
                description=fields.get("description", values.read_text),
                gtin=fields.get("gtin", values.read_gtin),
                brand=_cut(fields.get("brand", values.read_text)),
                category=_cut(fields.get("category", values.read_text)),
                image_url=fields.get("image_url", address),
            ),
        )
        return Read(offer, fields.remarks)

    def _price(self, item: Any, scale: int | None) -> tuple[int, str, bool]:
        value = self._evaluate("price", item)
        if value is None:
            raise Rejected("price: there is none")
        if isinstance(value, str) and not value.strip():
            raise Rejected("price: it is empty", is_doubtful=False)
        stated = self._evaluate("currency", item)
        if stated is not None and not isinstance(stated, str):
            raise Rejected("currency: it is not a text")
        currency = stated if stated and stated.strip() else self._currency
        try:
            return values.read_price(value, currency, self._price_format, scale)
        except NoPrice as error:
            raise Rejected(f"price: {error}", is_doubtful=not isinstance(error, ZeroPrice)) from None

    def _required(self, field: str, read: Callable[[Any], _Value], item: Any) -> _Value:
        try:
            return read(self._evaluate(field, item))
        except ValueError as error:
            raise Rejected(f"{field}: {error}") from None

    def _evaluate(self, field: str, item: Any) -> Any:
        expression = self._expressions.get(field)
        return None if expression is None else expression.evaluate(item)


class _OptionalFields:
    """The fields that an offer can do without: one that cannot be read is None, with a remark."""

    def __init__(self, evaluate: Callable[[str, Any], Any], item: Any) -> None:
        self._evaluate, self._item = evaluate, item
        self.remarks: list[str] = []

    def get(self, field: str, read: Callable[[Any], _Value]) -> _Value | None:
        value = self._evaluate(field, self._item)
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            self.remarks.append(f"{field}: {error}")
            return None


def _cut(text: str | None) -> str | None:
    return text and text[:_MAX_NAME]
