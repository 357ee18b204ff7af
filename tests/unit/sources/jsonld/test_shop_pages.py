"""Pages as common shop systems print them."""

from tests.unit.sources.jsonld.pages import URL, html, offer_of, offers, prices, read, read_blocks, refusal

ID = f"{URL}/#product"


def test_woocommerce_simple_product_on_sale():
    """No price but a list of specifications, the sale price without a type."""
    block = {
        "@context": "https://schema.org/",
        "@graph": [
            {"@type": "BreadcrumbList", "itemListElement": [{"@type": "ListItem", "item": {"name": "Lamps"}}]},
            {
                "@type": "Product",
                "@id": f"{URL}/#product",
                "name": "Lamp &#8211; white",
                "url": f"{URL}/",
                "sku": 4711,
                "offers": [
                    {
                        "@type": "Offer",
                        "priceSpecification": [
                            {
                                "@type": "UnitPriceSpecification",
                                "price": price,
                                "priceCurrency": "EUR",
                                "valueAddedTaxIncluded": True,
                                **more,
                            }
                            for price, more in [("19.99", {}), ("25.00", {"priceType": "https://schema.org/ListPrice"})]
                        ],
                        "priceValidUntil": "2020-12-31",
                        "availability": "https://schema.org/InStock",
                        "url": f"{URL}/",
                        "seller": {"@type": "Organization", "name": "Shop", "url": "https://shop.example"},
                    }
                ],
            },
        ],
    }

    lamp = offer_of(read_blocks(block))

    assert (lamp.price, lamp.currency, lamp.seller) == (1999, "EUR", "Shop")
    assert lamp.external_id == "sku:4711|seller:Shop"
    assert lamp.product.name == "Lamp – white"


def test_woocommerce_variable_product_with_a_range():
    aggregate = {
        "@type": "AggregateOffer",
        "lowPrice": "10.00",
        "highPrice": "20.00",
        "offerCount": 2,
        "priceCurrency": "EUR",
        "availability": "http://schema.org/InStock",
        "url": URL,
    }

    assert refusal(read_blocks({"@type": "Product", "name": "Lamp", "offers": [aggregate]})).code == "price_range"


def test_yoast_graph_with_references():
    graph = [
        {"@type": ["WebPage", "ItemPage"], "@id": f"{URL}/", "url": f"{URL}/", "isPartOf": {"@id": "#website"}},
        {"@type": "WebSite", "@id": "#website", "publisher": {"@id": "#organization"}},
        {"@type": "Organization", "@id": "#organization", "name": "Shop"},
        {
            "@type": "Product",
            "@id": ID,
            "name": "Lamp",
            "mainEntityOfPage": {"@id": f"{URL}/"},
            "brand": {"@id": "#organization"},
            "offers": [
                {
                    "@type": "Offer",
                    "@id": f"{URL}/#/schema/offer/17",
                    "price": "19.99",
                    "priceSpecification": {
                        "@type": "PriceSpecification",
                        "price": "19.99",
                        "priceCurrency": "EUR",
                        "valueAddedTaxIncluded": "true",
                    },
                    "priceCurrency": "EUR",
                    "availability": "http://schema.org/OutOfStock",
                    "seller": {"@id": "#organization"},
                }
            ],
        },
    ]

    lamp = offer_of(read_blocks({"@context": "https://schema.org", "@graph": graph}))

    assert (lamp.price, lamp.availability, lamp.seller, lamp.product.brand) == (1999, "out_of_stock", "Shop", "Shop")


def test_shopify_theme_with_a_list_of_offers():
    lamp = {
        "@context": "http://schema.org/",
        "@type": "Product",
        "name": "Lamp",
        "url": URL,
        "sku": "L-S",
        "offers": [
            {"@type": "Offer", "sku": "L-S", "price": 19.99, "priceCurrency": "EUR", "url": f"{URL}?variant=1"},
            {"@type": "Offer", "sku": "L-M", "price": 19.99, "priceCurrency": "EUR", "url": f"{URL}?variant=2"},
        ],
    }
    review_app = {"@type": "Product", "@id": URL, "name": "Lamp", "aggregateRating": {"ratingValue": "4.8"}}

    found = offers(read_blocks(lamp, review_app))

    assert [(offer.external_id, offer.url) for offer in found] == [
        ("sku:L-S", f"{URL}?variant=1"),
        ("sku:L-M", f"{URL}?variant=2"),
    ]


def test_prestashop_with_a_trailing_comma():
    """PrestaShop/PrestaShop#25371, #23534: the price in the shop's decimals, PreOrder for what can be ordered."""
    block = """{"@context": "https://schema.org/", "@type": "Product", "name": "Lamp", "sku": "demo_1", "gtin13": "",
      "offers": {"@type": "Offer", "priceCurrency": "EUR", "price": "23.9", "url": "%s", "image": [],
      "availability": "https://schema.org/PreOrder", "seller": {"@type": "Organization", "name": "Shop"},}}"""

    lamp = offer_of(read_blocks(block % URL))

    assert (lamp.price, lamp.availability) == (2390, "preorder")


def test_magento_with_microdata_and_prices_of_related_products():
    body = """
    <div class="product-info-main" itemscope itemtype="http://schema.org/Product"><h1 itemprop="name">Lamp</h1>
      <div class="price-box"><span itemprop="offers" itemscope itemtype="http://schema.org/Offer">
        <span data-price-amount="1299"><span class="price">1.299,00 €</span></span>
        <meta itemprop="price" content="1299" /><meta itemprop="priceCurrency" content="EUR" /></span>
        <span class="old-price"><span class="price">1.499,00 €</span></span></div></div>
    <div class="related"><span class="price">5,00 €</span></div>
    """

    assert prices(read(html(body=body))) == [(129900, "EUR")]
