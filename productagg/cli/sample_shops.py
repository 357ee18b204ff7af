"""The sandbox's shops as sources of the sample catalogue, one for each kind of adapter. For `productagg sample`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CURRENCY = "EUR"
# Goods are sent within this country: the shops state shipping for it.
_COUNTRY = "DE"


@dataclass(frozen=True)
class Article:
    """What a shop calls a sample product: its page's slug, its GTIN, and its id in the shop."""

    slug: str
    gtin: str
    id: str


@dataclass(frozen=True)
class SampleShop:
    """A shop as a source. The functions' first argument is the sandbox's root, like http://localhost:6544.

    `external_id` is the id that the adapter gives the product's offer. A shop that `tells_stock` says how many pieces
    it has.
    """

    name: str
    kind: str
    configuration: Callable[[str], Mapping[str, Any]]
    locator: Callable[[str, Article], str]
    external_id: Callable[[Article], str]
    tells_stock: bool = False
    # Shops change their prices less often than the Offers service, and are asked for one product a second.
    interval_seconds: int = 300


def _other_name(site: str) -> str:
    """The sandbox by another name: a run asks each host once a second, so two shops need two hosts."""
    return site.replace("//localhost:", "//127.0.0.1:")


def _json_configuration(site: str) -> Mapping[str, Any]:
    same_names = ("name", "description", "gtin", "brand", "category", "url", "condition", "availability")
    others = {"external_id": "id", "items_in_stock": "stock", "image_url": "image"}
    return {
        "url": f"{_other_name(site)}/shop-api/bazar24/products/{{locator}}",
        "items": "[@]",
        "price_format": "minor",
        "seller": "Bazar 24",
        "fields": {name: name for name in ("price", "currency", "shipping", *same_names)} | others,
    }


# By the sandbox's key of the shop.
SHOPS = {
    "kellermann": SampleShop(
        name="Kellermann",
        kind="jsonld",
        configuration=lambda _: {"country": _COUNTRY},
        locator=lambda site, product: f"{site}/shops/kellermann/products/{product.slug}",
        external_id=lambda product: f"sku:{product.gtin[-7:-1]}|seller:Kellermann",
    ),
    "nordkiste": SampleShop(
        name="Nordkiste",
        kind="feed",
        configuration=lambda site: {"url": f"{_other_name(site)}/feeds/nordkiste.xml", "country": _COUNTRY},
        locator=lambda _, product: product.id,
        external_id=lambda product: product.id,
    ),
    "bazar24": SampleShop(
        name="Bazar 24",
        kind="json_api",
        configuration=_json_configuration,
        locator=lambda _, product: product.gtin,
        external_id=lambda product: product.id,
        tells_stock=True,
    ),
}
