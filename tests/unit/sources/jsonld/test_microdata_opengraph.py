"""Pages without usable JSON-LD: microdata, else OpenGraph."""

import pytest

from tests.unit.sources.jsonld.pages import (
    URL,
    html,
    offer,
    offer_of,
    offers,
    prices,
    product,
    read,
    read_blocks,
    refusal,
)

LAMP = """
<div itemscope itemtype="http://schema.org/Product">
  <h1 itemprop="name">Lamp
  </h1>
  <meta itemprop="gtin13" content="4006381333931"><link itemprop="url" href="/products/lamp">
  <img itemprop="image" src="/i/1.jpg">
  <span itemprop="brand" itemscope itemtype="http://schema.org/Brand"><span itemprop="name">Lumen</span></span>
  <div itemprop="offers" itemscope itemtype="http://schema.org/Offer">
    <span itemprop="price" content="1299.00">1.299,00 €</span><meta itemprop="priceCurrency" content="EUR">
    <link itemprop="availability" href="http://schema.org/InStock">
  </div>
</div>
"""
BULB = """
<div itemscope itemtype="http://schema.org/Product"><a itemprop="url" href="/products/bulb">
  <span itemprop="name">Bulb</span></a>
  <div itemprop="offers" itemscope itemtype="http://schema.org/Offer">
    <span itemprop="price">5,00 €</span><meta itemprop="priceCurrency" content="EUR">
  </div>
</div>
"""


def graph_of(**properties):
    return "".join(
        f'<meta property="{name.replace("__", ":")}" content="{content}">' for name, content in properties.items()
    )


SHOWN = graph_of(
    og__type="product",
    og__title="Lamp",
    og__url=URL,
    product__price__amount="1299.00",
    product__price__currency="EUR",
    product__availability="instock",
    product__condition="new",
    product__retailer_item_id="L-1",
    product__brand="Lumen",
)


class TestMicrodata:
    def test_the_product_and_its_offer(self):
        lamp = offer_of(read(html(body=LAMP)))

        assert (lamp.price, lamp.currency, lamp.availability) == (129900, "EUR", "in_stock")
        assert lamp.product == ("Lamp", None, "4006381333931", "Lumen", None, "https://shop.example/i/1.jpg")

    def test_related_products_are_not_the_pages(self):
        assert prices(read(html(body=BULB + LAMP + BULB))) == [(129900, "EUR")]
        assert prices(read(html(body=LAMP.replace("</h1>", "</h1>" + BULB)))) == [(129900, "EUR")]
        assert refusal(read(html(body=BULB))).code == "no_product"

    @pytest.mark.parametrize("text", ["1.299,00 €", "€ 1,299.00", "1299", "1 299,00&nbsp;EUR"])
    def test_prices_as_people_read_them(self, text):
        page = LAMP.replace(' content="1299.00">1.299,00 €', f">{text}")

        assert prices(read(html(body=page))) == [(129900, "EUR")]

    def test_two_prices_in_one_offer_are_refused(self):
        page = LAMP.replace('<span itemprop="price"', '<s itemprop="price">1.499,00 €</s><span itemprop="price"')

        assert refusal(read(html(body=page))).code == "contradiction"

    def test_the_main_entity_of_a_page(self):
        page = f'<body itemscope itemtype="https://schema.org/WebPage">{LAMP}{BULB}</body>'.replace(
            "<div itemscope", '<div itemprop="mainEntity" itemscope', 1
        )

        assert prices(read(page)) == [(129900, "EUR")]

    def test_properties_elsewhere_by_itemref(self):
        page = """
        <div itemscope itemtype="https://schema.org/Product" itemref="name box"></div>
        <h1 id="name" itemprop="name">Lamp</h1>
        <div id="box"><div itemprop="offers" itemscope itemtype="https://schema.org/Offer">
        <data itemprop="price" value="19.99">x</data><meta itemprop="priceCurrency" content="EUR"></div></div>
        """

        lamp = offer_of(read(html(body=page)))

        assert (lamp.price, lamp.product.name) == (1999, "Lamp")

    def test_items_that_refer_to_each_other_end(self):
        page = """
        <div id="a" itemscope itemtype="https://schema.org/Product" itemref="b"><i itemprop="name">Lamp</i></div>
        <div id="b" itemprop="offers" itemscope itemtype="https://schema.org/Offer" itemref="a b">
        <meta itemprop="price" content="19.99"><meta itemprop="priceCurrency" content="EUR"></div>
        """

        assert prices(read(html(body=page))) == [(1999, "EUR")]

    def test_json_ld_with_offers_is_preferred(self):
        assert prices(read_blocks(product(offer()), body=LAMP)) == [(1999, "EUR")]

    def test_json_ld_without_offers_is_not_usable(self):
        assert prices(read_blocks(product([]), {"@type": "WebSite"}, body=LAMP)) == [(129900, "EUR")]

    def test_damaged_json_ld_is_not_usable_but_raises_a_doubt(self):
        outcome = read_blocks('{"@type": "Product", "offers": ', body=LAMP)

        assert [offer.price for offer in outcome.offers] == [129900]
        assert not outcome.complete

    def test_json_ld_that_states_a_range_is_not_replaced(self):
        range_ = {"@type": "AggregateOffer", "lowPrice": 10, "highPrice": 20, "priceCurrency": "EUR"}

        assert refusal(read_blocks(product(range_), body=LAMP)).code == "price_range"


class TestOpenGraph:
    def test_the_product_and_its_offer(self):
        lamp = offer_of(read(html(head=SHOWN)))

        assert (lamp.price, lamp.currency) == (129900, "EUR")
        assert (lamp.external_id, lamp.availability, lamp.condition) == ("sku:L-1", "in_stock", "new")
        assert (lamp.product.name, lamp.product.brand) == ("Lamp", "Lumen")

    def test_as_shopify_writes_it(self):
        head = graph_of(og__title="Lamp", og__price__amount="1,299.00", og__price__currency="EUR")

        assert prices(read(html(head=head))) == [(129900, "EUR")]

    def test_the_sale_price_is_paid(self):
        head = SHOWN + graph_of(product__sale_price__amount="999.00", product__sale_price__currency="EUR")

        assert prices(read(html(head=head))) == [(99900, "EUR")]

    def test_two_prices_are_refused(self):
        assert refusal(read(html(head=SHOWN + graph_of(product__price__amount="5.00")))).code == "contradiction"

    def test_without_a_currency_it_is_refused(self):
        head = graph_of(og__title="Lamp", og__price__amount="1299.00")

        assert refusal(read(html(head=head))).code == "unclear_price"
        assert prices(read(html(head=head), currency="CZK")) == [(129900, "CZK")]

    def test_of_another_page_it_is_not_the_pages(self):
        head = SHOWN.replace(URL, "https://shop.example/products/bulb")

        assert refusal(read(html(head=head))).code == "no_product"

    @pytest.mark.parametrize(
        ("word", "expected"), [("oos", "out_of_stock"), ("in stock", "in_stock"), ("pending", "unknown")]
    )
    def test_availability(self, word, expected):
        head = SHOWN.replace("instock", word)

        assert offer_of(read(html(head=head))).availability == expected

    def test_a_page_that_shares_no_price_has_no_product(self):
        assert refusal(read(html(head=graph_of(og__title="Lamp", og__type="product")))).code == "no_product"

    def test_zero_is_no_price(self):
        assert offers(read(html(head=graph_of(og__title="Lamp", og__price__amount="0.00")))) == []
