"""The price to pay of an offer, among the many amounts that stand beside it, and what shipping costs.

schema.org gives an offer a `price`, any number of price specifications, and (to an AggregateOffer) a range. What is not
certain is refused: a wrong price is worse than none.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from productagg.offers.money import exponent, to_minor
from productagg.sources.jsonld.graph import Thing, short_name
from productagg.sources.prices import NoPrice, normalize_currency, parse_amount, parse_price, split_currency

# What else a PriceTypeEnumeration says is not what a customer pays: ListPrice, MSRP, SRP, StrikethroughPrice …
_SALE, _REGULAR = "saleprice", "regularprice"
_OTHER_CHARGES = {"deliverychargespecification", "paymentchargespecification"}
# Prices for members, per kilogram, and parts of a price: fees, down payments, instalments, subscriptions.
_CONDITIONS = ("validformembertier", "referencequantity", "pricecomponenttype", "billingduration", "billingincrement")


class Refused(ValueError):
    """The offer is not taken. `code` is a word for statistics: `no_price` if the shop clearly states none for all."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


class Price(NamedTuple):
    """A price in minor units of its currency, and doubts for people."""

    minor: int
    currency: str
    remarks: Sequence[str] = ()


class Currencies(NamedTuple):
    """Where an offer's currency comes from, if the offer does not state one."""

    enclosing: str = ""
    """Of the AggregateOffer that contains the offer."""
    configured: str | None = None
    """Only for prices without any currency."""


def price_of(offer: Thing, currencies: Currencies) -> Price:
    """The price to pay. Raises Refused.

    In this order: the offer's price; the price specification that is not a list price, a member's price, a unit price,
    or a part of a price; lowPrice if it is the highPrice.
    """
    if offer.values("validformembertier"):
        raise Refused("its price is for members only", "no_price")
    amounts = [text for text in offer.scalars("price") if text]
    specifications = [
        thing for thing in offer.things("pricespecification", "price") if not thing.types & _OTHER_CHARGES
    ]
    if amounts:
        stated = _only_text(offer.texts("pricecurrency", "currency"), "currencies")
        currency = stated or _currency_of_all(specifications)
        price = _one_price([_parse(amount, currency, currencies) for amount in amounts])
        if not specifications:
            return price
        return price._replace(remarks=(*price.remarks, *_disagreements(price, specifications, currencies)))
    if specifications:
        return _specified(specifications, offer, currencies)
    return _of_range(offer, currencies)


def _specified(specifications: Sequence[Thing], offer: Thing, currencies: Currencies) -> Price:
    chosen = _to_pay(specifications)
    currency = offer.text("pricecurrency")
    prices = [price for thing in chosen for price in _amounts(thing, currency, currencies)]
    if not prices:
        raise Refused("none of its price specifications is the price to pay", "no_price_to_pay")
    price = _one_price(prices)
    untaxed = any(thing.text("valueaddedtaxincluded").lower() == "false" for thing in chosen)
    return price._replace(remarks=(*price.remarks, "the page says that the price is without VAT")) if untaxed else price


def _to_pay(specifications: Sequence[Thing]) -> Sequence[Thing]:
    """The specifications that may be the price to pay. Their order means nothing: WooCommerce reversed it twice."""
    plain = [thing for thing in specifications if not (thing.values(*_CONDITIONS) or _is_for_many(thing))]
    for types in ({_SALE}, {"", _REGULAR}):
        found = [thing for thing in plain if _types(thing) <= types]
        if found:
            return _with_tax(found)
    return ()


def _types(specification: Thing) -> set[str]:
    return {short_name(text) for text in specification.texts("pricetype")} or {""}


def _with_tax(specifications: Sequence[Thing]) -> Sequence[Thing]:
    """Those with VAT, if the shop states both."""
    taxed = [thing for thing in specifications if thing.text("valueaddedtaxincluded").lower() == "true"]
    return taxed or specifications


def _is_for_many(specification: Thing) -> bool:
    """Whether the price is for a quantity: ten and more for less each."""
    least = [
        text for quantity in specification.things("eligiblequantity") for text in quantity.texts("minvalue", "value")
    ]
    return any(text not in ("1", "1.0") for text in least)


def _amounts(specification: Thing, currency: str, currencies: Currencies) -> Iterable[Price]:
    own = _only_text(specification.texts("pricecurrency", "currency"), "currencies") or currency
    return [_parse(text, own, currencies) for text in specification.texts("price", "value")]


def _of_range(offer: Thing, currencies: Currencies) -> Price:
    low, high = offer.texts("lowprice"), offer.texts("highprice")
    if not low and not high:
        raise Refused("it states no price", "no_price")
    currency = _only_text(offer.texts("pricecurrency", "currency"), "currencies")
    prices = {_parse(text, currency, currencies) for text in (*low, *high)}
    if not (low and high) or len(prices) > 1:
        stated = " to ".join(dict.fromkeys((*low, *high)))
        raise Refused(f"it states a range of prices ({stated[:60]}), of several variants", "price_range")
    return prices.pop()


def _parse(text: str, currency: str, currencies: Currencies) -> Price:
    known: str | None = currency or currencies.enclosing
    if "0" in text and not any(digit in text for digit in "123456789"):
        raise Refused("its price is 0, which stands for 'no price'", "no_price")
    if not known:
        known = None if split_currency(text)[1] else currencies.configured
    try:
        minor, code, is_lossy = parse_price(text, known)
    except NoPrice as error:
        raise Refused(f"its price cannot be read: {error}", "unclear_price") from None
    return Price(minor, code, (f"{text} {code} is not a whole number of minor units",) if is_lossy else ())


def _one_price(prices: Sequence[Price]) -> Price:
    if len(prices) > 1 and len({price[:2] for price in prices}) > 1:
        stated = ", ".join(sorted({f"{price.minor} {price.currency}" for price in prices}))
        raise Refused(f"it states several prices: {stated} (in minor units)", "contradiction")
    return prices[0]


def _only_text(texts: Sequence[str], what: str) -> str:
    if len(texts) > 1 and len(set(texts)) > 1:
        raise Refused(f"it states several {what}: {', '.join(sorted(set(texts)))[:60]}", "contradiction")
    return texts[0] if texts else ""


def _currency_of_all(specifications: Sequence[Thing]) -> str:
    """The currency of the specifications, for a price beside them that has none."""
    texts = [text for thing in specifications for text in thing.texts("pricecurrency")]
    return _only_text(texts, "currencies")


def _disagreements(price: Price, specifications: Sequence[Thing], currencies: Currencies) -> Sequence[str]:
    """Where price and specification clash, the price counts, as for Google (woocommerce#34826)."""
    try:
        specified = {
            found[:2] for thing in _to_pay(specifications) for found in _amounts(thing, price.currency, currencies)
        }
    except Refused:
        return ()
    return () if specified <= {price[:2]} else ("its price specification states another price than its price",)


def shipping_of(offer: Thing, country: str | None, currency: str) -> int | None:
    """The lowest price of shipping to the country, in minor units of the currency. None: the page does not say."""
    if not country:
        return None
    rates = [
        _rate(rate, currency)
        for details in offer.things("shippingdetails")
        if _goes_to(details, country)
        for rate in details.things("shippingrate")
    ]
    return min((rate for rate in rates if rate is not None), default=None)


def _goes_to(details: Thing, country: str) -> bool:
    """Whether everybody in this country can have it shipped for this. Parts of a country are left out."""
    if details.text("doesnotship").lower() == "true" or details.values("validformembertier"):
        return False
    destinations = details.things("shippingdestination")
    return not destinations or any(
        country in [text.upper() for text in destination.texts("addresscountry")]
        and not destination.values("addressregion", "postalcode", "postalcodeprefix", "postalcoderange")
        for destination in destinations
    )


def _rate(rate: Thing, currency: str) -> int | None:
    texts = rate.texts("value")
    if len(set(texts)) != 1:
        return None
    try:
        if normalize_currency(rate.text("currency")) != currency:
            return None
        return to_minor(parse_amount(texts[0], exponent(currency)), currency)
    except ValueError:
        return None
