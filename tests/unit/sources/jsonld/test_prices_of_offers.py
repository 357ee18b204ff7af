"""The price to pay, among the amounts that stand near it."""

import pytest

from tests.unit.sources.jsonld.pages import URL, offer, offer_of, offers, prices, product, read_blocks, refusal


def specification(price, currency="EUR", **more):
    return {"@type": "UnitPriceSpecification", "price": price, "priceCurrency": currency, **more}


def specified(*specifications, **more):
    return read_blocks(product(offer(None, None, priceSpecification=list(specifications), **more)))


LIST = specification("30.00", priceType="https://schema.org/ListPrice")
PAY = specification("19.99")


class TestPriceOfTheOffer:
    @pytest.mark.parametrize(
        ("price", "currency", "expected"),
        [
            ("19.99", "EUR", (1999, "EUR")),
            (19.99, "EUR", (1999, "EUR")),
            (20, "EUR", (2000, "EUR")),
            ("1300", "USD", (130000, "USD")),
            ("600", "HUF", (60000, "HUF")),
            ("1500", "JPY", (1500, "JPY")),
            ("1.500", "KWD", (1500, "KWD")),
            ("1.500", "EUR", (150, "EUR")),
            ("16980", "RUR", (1698000, "RUB")),
        ],
    )
    def test_minor_units_are_those_of_iso_4217(self, price, currency, expected):
        assert prices(read_blocks(product(offer(price, currency)))) == [expected]

    @pytest.mark.parametrize(
        ("price", "minor"),
        [("3,700.00", 370000), ("$16,980", 1698000), ("1,600.00", 160000), ("162,98", 16298), ("1.299,00", 129900)],
    )
    def test_separators_of_thousands_are_read_by_rule(self, price, minor):
        assert prices(read_blocks(product(offer(price, "USD")))) == [(minor, "USD")]

    @pytest.mark.parametrize("price", ["11,99 €", "€ 11.99", "11,99\u00a0EUR", "EUR 11.99"])
    def test_symbol_and_number_are_told_apart(self, price):
        assert prices(read_blocks(product(offer(price)))) == [(1199, "EUR")]

    def test_a_code_in_the_text_must_be_the_currency(self):
        assert refusal(read_blocks(product(offer("1,252.00 EGP", "USD")))).code == "unclear_price"
        assert prices(read_blocks(product(offer("1,252.00 EGP", "EGP")))) == [(125200, "EGP")]

    @pytest.mark.parametrize("price", ["Free", "12–15", "10 - 20", "-5", "from 10", True, "1.2.3", "$140.600", "10 20"])
    def test_what_can_be_read_in_two_ways_is_refused(self, price):
        assert refusal(read_blocks(product(offer(price, "USD")))).code == "unclear_price"

    @pytest.mark.parametrize("price", [0, "0", "0.00", "0,00 €", 0.0])
    def test_zero_is_no_price(self, price):
        outcome = read_blocks(product(offer(price)))

        assert offers(outcome) == []
        assert outcome.rejected[0].reason == "its price is 0, which stands for 'no price'"

    @pytest.mark.parametrize("price", [None, "", " "])
    def test_call_for_price_is_no_offer(self, price):
        assert offers(read_blocks(product(offer(price)))) == []

    def test_variants_without_a_price_do_not_hide_the_others(self):
        outcome = read_blocks(product([offer("0", sku="1"), offer("19.99", sku="2")]))

        assert prices(outcome) == [(1999, "EUR")]
        assert [remark.item for remark in outcome.rejected] == ["sku:1"]

    def test_variants_that_cannot_be_read_close_nothing(self):
        outcome = read_blocks(product([offer("10-20", sku="1"), offer("19.99", sku="2")]))

        assert [offer.price for offer in outcome.offers] == [1999]
        assert outcome.incomplete_because == "1 of 2 offers could not be read"

    def test_residue_of_floats_is_rounded(self):
        assert prices(read_blocks(product(offer(185.130001)))) == [(18513, "EUR")]

    def test_a_lost_part_of_a_minor_unit_is_noted(self):
        outcome = read_blocks(product(offer("0.847", "CZK")))

        assert prices(outcome) == [(85, "CZK")]
        assert outcome.remarks[0].reason == "0.847 CZK is not a whole number of minor units"


class TestCurrency:
    def test_a_price_without_a_currency_is_refused(self):
        assert refusal(read_blocks(product(offer(currency=None)))).reason == (
            "its price cannot be read: the price has no currency"
        )

    def test_the_configured_currency_is_for_prices_without_one(self):
        lamps = [offer("19.99", None, sku="1"), offer("20", "USD", sku="2"), offer("21 GBP", None, sku="3")]

        assert prices(read_blocks(product(lamps), currency="EUR")) == [(1999, "EUR"), (2000, "USD"), (2100, "GBP")]

    def test_each_offer_has_its_own(self):
        assert prices(read_blocks(product([offer(sku="1"), offer(currency="USD", sku="2")]))) == [
            (1999, "EUR"),
            (1999, "USD"),
        ]

    @pytest.mark.parametrize("currency", ["BTC", "Ithaca HOURS", "XAU", "€€", "EURO"])
    def test_what_is_not_in_iso_4217_is_refused(self, currency):
        assert refusal(read_blocks(product(offer(currency=currency)))).code == "unclear_price"

    def test_two_currencies_of_one_price_are_refused(self):
        assert refusal(read_blocks(product(offer(currency=["EUR", "USD"])))).code == "contradiction"

    def test_that_of_the_enclosing_aggregate_holds_for_its_offers(self):
        aggregate = {"@type": "AggregateOffer", "priceCurrency": "CZK", "offers": [offer("500", None)]}

        assert prices(read_blocks(product(aggregate))) == [(50000, "CZK")]

    def test_that_of_the_specification_holds_for_a_price_without_one(self):
        assert prices(read_blocks(product(offer("19.99", None, priceSpecification=PAY)))) == [(1999, "EUR")]

    def test_opengraph_in_another_currency_contradicts_the_page(self):
        head = '<meta property="og:price:amount" content="19.99"><meta property="og:price:currency" content="USD">'

        failure = refusal(read_blocks(product(offer()), head=head))

        assert failure.code == "contradiction"
        assert failure.reason == "the page contradicts itself: its offers are in EUR, and OpenGraph says USD"

    def test_another_price_in_opengraph_is_noted_and_not_mixed(self):
        head = (
            '<meta property="product:price:amount" content="24.19">'
            '<meta property="product:price:currency" content="EUR">'
        )

        outcome = read_blocks(product(offer()), head=head)

        assert prices(outcome) == [(1999, "EUR")]
        assert [remark.reason for remark in outcome.remarks] == [
            "OpenGraph states another price, 2419 EUR (in minor units)"
        ]


class TestPriceSpecifications:
    @pytest.mark.parametrize("order", [[LIST, PAY], [PAY, LIST]])
    def test_the_price_type_decides_and_not_the_position(self, order):
        assert prices(specified(*order)) == [(1999, "EUR")]

    @pytest.mark.parametrize(
        "type_", ["ListPrice", "MSRP", "SRP", "StrikethroughPrice", "MinimumAdvertisedPrice", "InvoicePrice", "Other"]
    )
    @pytest.mark.parametrize("prefix", ["", "http://schema.org/", "https://schema.org/"])
    def test_prices_that_nobody_pays(self, type_, prefix):
        assert prices(specified(specification("30", priceType=prefix + type_), PAY)) == [(1999, "EUR")]

    def test_the_sale_price_beside_the_regular_one(self):
        regular = specification("30", priceType="https://schema.org/RegularPrice")
        sale = specification("19.99", priceType="https://schema.org/SalePrice")

        assert prices(specified(regular, sale)) == [(1999, "EUR")]
        assert prices(specified(regular, LIST)) == [(3000, "EUR")]

    @pytest.mark.parametrize(
        "more",
        [
            {"validForMemberTier": {"@type": "MemberProgramTier", "name": "gold"}},
            {"referenceQuantity": {"@type": "QuantitativeValue", "value": 1, "unitCode": "KGM"}},
            {"priceComponentType": "https://schema.org/Installment"},
            {"priceComponentType": "https://schema.org/Downpayment"},
            {"priceComponentType": "https://schema.org/ActivationFee"},
            {"billingDuration": 12},
            {"eligibleQuantity": {"@type": "QuantitativeValue", "minValue": 10}},
            {"@type": "DeliveryChargeSpecification"},
        ],
    )
    def test_members_prices_unit_prices_and_parts_of_a_price_are_not_the_price(self, more):
        other = {**specification("4.99"), **more}

        assert prices(specified(other, PAY)) == [(1999, "EUR")]
        assert prices(specified(PAY, other)) == [(1999, "EUR")]
        assert prices(read_blocks(product(offer(priceSpecification=[other])))) == [(1999, "EUR")]

    def test_an_offer_for_members_is_none_for_everybody(self):
        members = offer("15.00", sku="L", validForMemberTier={"@type": "MemberProgramTier", "name": "gold"})

        assert prices(read_blocks(product([members, offer(sku="L")]))) == [(1999, "EUR")]
        assert offers(read_blocks(product(members))) == []

    def test_a_list_price_alone_is_not_the_price(self):
        assert refusal(specified(LIST)).code == "no_price_to_pay"

    def test_two_prices_of_the_same_kind_are_refused(self):
        assert refusal(specified(PAY, specification("24.99"))).code == "contradiction"

    def test_the_same_price_twice_is_one(self):
        assert prices(specified(PAY, PAY)) == [(1999, "EUR")]

    def test_the_offers_price_wins_over_its_specification(self):
        outcome = read_blocks(product(offer("19.99", priceSpecification=specification("24.99"))))

        assert prices(outcome) == [(1999, "EUR")]
        assert "another price" in outcome.remarks[0].reason

    def test_a_price_without_vat_is_noted_and_not_recomputed(self):
        outcome = specified(specification("19.99", valueAddedTaxIncluded="false"))

        assert prices(outcome) == [(1999, "EUR")]
        assert outcome.remarks[0].reason == "the page says that the price is without VAT"

    def test_of_prices_with_and_without_vat_the_one_with_it_is_paid(self):
        without = specification("16.52", valueAddedTaxIncluded=False)

        assert prices(specified(without, specification("19.99", valueAddedTaxIncluded=True))) == [(1999, "EUR")]

    def test_one_that_is_not_in_a_list(self):
        assert prices(read_blocks(product(offer(None, priceSpecification={"price": 19.99})))) == [(1999, "EUR")]


class TestRanges:
    def aggregate(self, **more):
        return {"@type": "AggregateOffer", "priceCurrency": "EUR", "offerCount": 2, **more}

    def test_a_range_is_refused(self):
        failure = refusal(read_blocks(product(self.aggregate(lowPrice="10.00", highPrice="20.00"))))

        assert failure.code == "price_range"
        assert failure.reason == "it states a range of prices (10.00 to 20.00), of several variants"

    def test_a_range_of_one_price_is_a_price(self):
        assert prices(read_blocks(product(self.aggregate(lowPrice="19.99", highPrice=19.99)))) == [(1999, "EUR")]

    @pytest.mark.parametrize("half", [{"lowPrice": "10"}, {"highPrice": "10"}])
    def test_half_a_range_is_refused(self, half):
        assert refusal(read_blocks(product(self.aggregate(**half)))).code == "price_range"

    def test_an_offer_with_a_low_price(self):
        assert refusal(read_blocks(product(offer(None, lowPrice="10", highPrice="20")))).code == "price_range"

    def test_an_aggregate_is_not_one_more_offer_beside_the_offers_in_it(self):
        aggregate = self.aggregate(lowPrice="19.99", highPrice="19.99", offers=[offer(sku="1"), offer(sku="2")])

        assert [offer.external_id for offer in offers(read_blocks(product(aggregate)))] == ["sku:1", "sku:2"]

    def test_nor_beside_offers_next_to_it(self):
        aggregate = self.aggregate(lowPrice="19.99", highPrice="19.99")

        assert [offer.external_id for offer in offers(read_blocks(product([aggregate, offer(sku="1")])))] == ["sku:1"]


class TestShipping:
    def shipped(self, *details, country="CZ"):
        return offer_of(read_blocks(product(offer(shippingDetails=list(details))), country=country)).shipping

    def details(self, value, countries="CZ", currency="EUR", **more):
        return {
            "@type": "OfferShippingDetails",
            "shippingRate": {"@type": "MonetaryAmount", "value": value, "currency": currency},
            "shippingDestination": {"@type": "DefinedRegion", "addressCountry": countries, **more},
        }

    def test_to_the_configured_country(self):
        assert self.shipped(self.details("9.90", "DE"), self.details("4.90", "CZ")) == 490

    def test_the_cheapest_of_several(self):
        assert self.shipped(self.details(9.9), self.details("4.90", ["SK", "cz"])) == 490

    def test_free_is_not_unknown(self):
        assert self.shipped(self.details(0)) == 0

    @pytest.mark.parametrize("country", [None, "SK"])
    def test_without_a_country_or_to_another_it_is_not_told(self, country):
        assert self.shipped(self.details("4.90"), country=country) is None

    def test_what_is_not_certain_is_not_told(self):
        assert self.shipped(self.details("4.90", currency="USD")) is None
        assert self.shipped(self.details("4.90", addressRegion="Praha")) is None
        assert self.shipped(self.details("from 4")) is None
        assert self.shipped({**self.details("4.90"), "doesNotShip": True}) is None
        assert self.shipped({"shippingRate": {"maxValue": 5, "currency": "EUR"}}) is None

    def test_by_reference(self):
        graph = {
            "@graph": [
                {**self.details("4.90"), "@id": "#ship"},
                product(offer(shippingDetails={"@id": "#ship"}), url=URL),
            ]
        }

        assert offer_of(read_blocks(graph, country="CZ")).shipping == 490
