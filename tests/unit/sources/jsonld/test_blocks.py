"""Blocks of JSON-LD: where they stand in a page, what damages them, and that damage stays in its block."""

import json

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

GOOD = json.dumps(product(offer()))
LAMP = '{"@type": "Product", "name": "Lamp", "offers": {"@type": "Offer", "price": "19.99", "priceCurrency": "EUR"%s}}'


class TestRepairedBlocks:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(LAMP % ",", id="trailing comma in an object"),
            pytest.param(f"[{GOOD},]", id="trailing comma in a list"),
            pytest.param(LAMP % ',, "sku": "1"', id="two commas"),
            pytest.param(f"{GOOD};", id="semicolon after it"),
            pytest.param(f"<!-- {GOOD} -->", id="HTML comment around it"),
            pytest.param(f"<!-- SEO plugin 3.1 -->\n{GOOD}", id="HTML comment before it"),
            pytest.param(f"//<![CDATA[\n{GOOD}\n//]]>", id="CDATA in a comment"),
            pytest.param(f"/*<![CDATA[*/{GOOD}/*]]>*/", id="CDATA in another comment"),
            pytest.param(f"<![CDATA[{GOOD}]]>", id="CDATA"),
            pytest.param(f"\ufeff{GOOD}", id="byte order mark"),
            pytest.param(GOOD.replace('"', "&quot;"), id="escaped as in an attribute"),
            pytest.param(f"/* made by a theme */ {GOOD} // end", id="JavaScript comments"),
            pytest.param(GOOD.replace("Lamp", "La\nmp\t\x01"), id="control characters in a string"),
            pytest.param(GOOD.replace("Lamp", r"Mum\'s \Lamp \x \u12"), id="bad escapes"),
            pytest.param(GOOD.replace("Lamp", r"Lamp \ud83d"), id="half of a surrogate pair"),
            pytest.param(f"{GOOD}{json.dumps({'@type': 'WebSite'})}", id="two values in a row"),
            pytest.param(GOOD.replace('"Lamp"', "NaN"), id="not a number"),
            pytest.param(LAMP % ', "sku":', id="a value is missing"),
        ],
    )
    def test_harmless_damage_is_repaired(self, text):
        assert prices(read_blocks(text)) == [(1999, "EUR")]

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(f"{GOOD}}}}}", id="braces too many"),
            pytest.param("{" + GOOD, id="two braces at its beginning"),
            pytest.param(GOOD.replace("Lamp", '24" Lamp "Sun", white'), id="quotation marks not escaped"),
        ],
    )
    def test_what_had_to_be_guessed_closes_no_offer(self, text):
        outcome = read_blocks(text)

        assert [(offer.price, offer.currency) for offer in outcome.offers] == [(1999, "EUR")]
        assert not outcome.complete
        assert "do not match" in outcome.incomplete_because

    def test_quotation_marks_that_are_not_escaped_stay_in_the_name(self):
        [lamp] = read_blocks(GOOD.replace("Lamp", '24" Lamp "Sun", white')).offers

        assert lamp.product.name == '24" Lamp "Sun", white'


class TestDamagedBlocks:
    @pytest.mark.parametrize(
        "damage",
        [
            "{{%",
            '{"@type": "Product"',
            '{"@type": "Product", "offers": {"price": 12,34}}',
            "<p>offer</p>",
            "[" * 5000,
            '{"a":' * 5000,
            '{"offers": "',
            "undefined",
        ],
    )
    def test_damage_is_of_its_block_only(self, damage):
        outcome = read_blocks(damage, product(offer()))

        assert [offer.price for offer in outcome.offers] == [1999]
        assert [remark.item for remark in outcome.remarks] == ["block 1"]

    def test_a_damaged_block_that_may_have_held_offers_closes_none(self):
        outcome = read_blocks('{"offers": [', product(offer()))

        assert not outcome.complete
        assert outcome.incomplete_because == "block 1 of JSON-LD is damaged"

    def test_a_damaged_block_about_something_else_raises_no_doubt(self):
        assert prices(read_blocks('{"@type": "BreadcrumbList", ', product(offer()))) == [(1999, "EUR")]

    def test_a_price_with_a_comma_and_without_quotation_marks_is_no_price(self):
        failure = refusal(read_blocks('{"@type": "Product", "offers": {"price": 12,34, "priceCurrency": "EUR"}}'))

        assert failure.code == "no_product"
        assert "block 1 of JSON-LD is damaged" in failure.reason

    def test_a_trailing_comma_where_the_price_is_hidden_is_no_offer(self):
        text = '{"@type": "Product", "name": "Lamp", "offers": {"@type": "Offer", "priceCurrency": "EUR", "price": ,}}'

        outcome = read_blocks(text)

        assert offers(outcome) == []
        assert [remark.reason for remark in outcome.rejected] == ["it states no price"]

    def test_a_page_that_ends_within_a_block_is_incomplete(self):
        whole = html(product(offer()), product(offer("5.00"), url="/other"))

        outcome = read(whole[: whole.rindex("5.00") + 2])

        assert [offer.price for offer in outcome.offers] == [1999]
        assert not outcome.complete

    def test_a_page_that_ends_within_its_only_block_fails(self):
        whole = html(product(offer()))

        for end in range(whole.index("<script"), whole.rindex("</script")):
            assert refusal(read(whole[:end])).code == "no_product"

    def test_an_empty_block_says_nothing(self):
        assert prices(read_blocks(" ", "<!-- -->", product(offer()))) == [(1999, "EUR")]


class TestWhereBlocksStand:
    @pytest.mark.parametrize(
        "tag",
        [
            '<script type="application/ld+json">',
            "<script type='application/ld+json' class=yoast-schema-graph>",
            "<script type=application/ld+json>",
            '<SCRIPT TYPE="Application/LD+JSON">',
            '<script data-x="a > b" id="x"\n type = "application/ld+json; charset=utf-8" >',
            '<script type="application/ld&#x2B;json">',
        ],
    )
    def test_the_spelling_of_the_tag_does_not_matter(self, tag):
        assert prices(read(f"<html><body><p>{tag}{GOOD}</script ></p></body></html>")) == [(1999, "EUR")]

    @pytest.mark.parametrize(
        "hidden",
        [
            "<!-- {} -->",
            "<style>{}",
            "<textarea>{}</textarea>",
            "<!---->{}<!-- x -->".replace("{}", "<!-- {} -->"),
            '<script>var template = "{}";</script>'.replace("{}", "{}".replace("</", "<\\/")),
        ],
    )
    def test_what_a_browser_does_not_see_as_an_element_is_none(self, hidden):
        other = f'<script type="application/ld+json">{json.dumps(product(offer("5.00")))}<\\/script>'
        page = html(product(offer()), body=hidden.replace("{}", other))

        assert prices(read(page)) == [(1999, "EUR")]

    @pytest.mark.parametrize("opening", ["<!-->", "<!--->", "<!-- x -->", "<!--[if IE]><![endif]-->"])
    def test_a_short_comment_hides_nothing(self, opening):
        assert prices(read(html(product(offer()), head=opening))) == [(1999, "EUR")]

    def test_a_quotation_mark_without_its_pair_hides_nothing(self):
        assert prices(read(html(product(offer()), head="<meta name='x content=1>"))) == [(1999, "EUR")]

    def test_other_scripts_are_not_read(self):
        page = html(product(offer()), body=f'<script type="application/json">{GOOD.replace("19.99", "5")}</script>')

        assert prices(read(page)) == [(1999, "EUR")]


class TestSpellings:
    def test_keys_in_capitals_padded_values_and_lists_of_types_are_read(self):
        lamp = {
            "@type": ["Thing", "Product"],
            "Name": " Lamp ",
            "Offers": {
                "@type": ["Offer"],
                "Price": " 19.99 ",
                "PriceCurrency": " eur ",
                "Availability": " InStock ",
                "ItemCondition": "http://schema.org/NewCondition ",
            },
        }

        read_offer = offer_of(read_blocks(lamp))

        assert (read_offer.price, read_offer.currency) == (1999, "EUR")
        assert (read_offer.availability, read_offer.condition) == ("in_stock", "new")
        assert read_offer.product.name == "Lamp"

    @pytest.mark.parametrize("prefix", ["schema:", "http://schema.org/", "https://schema.org/"])
    def test_names_with_their_vocabulary_are_read(self, prefix):
        lamp = {
            "@type": f"{prefix}Product",
            f"{prefix}offers": {"@type": f"{prefix}Offer", f"{prefix}price": 19.99, f"{prefix}priceCurrency": "EUR"},
        }

        assert prices(read_blocks(lamp)) == [(1999, "EUR")]

    def test_values_with_types_and_lists_of_one_are_read(self):
        lamp = product(
            [{"@set": [offer({"@value": "19.99", "@type": "xsd:decimal"}, ["EUR"])]}], name=[{"@value": "Lamp"}]
        )

        assert prices(read_blocks(lamp)) == [(1999, "EUR")]

    def test_entity_references_in_strings_are_replaced_once(self):
        lamp = product(
            offer(url=f"{URL}?a=1&amp;currency=2"),
            name="Tom &amp;amp; Jerry&#39;s",
            brand="A &quot;B&quot;",
            category="&copy",
        )

        read_offer = offer_of(read_blocks(lamp))

        assert read_offer.product.name == "Tom &amp; Jerry's"
        assert read_offer.product.brand == 'A "B"'
        assert read_offer.product.category == "&copy"
        assert read_offer.url == f"{URL}?a=1&currency=2"

    def test_a_property_stated_twice_in_different_spellings_has_two_values(self):
        outcome = read_blocks(product({**offer("19.99"), "Price": "5.00"}))

        assert refusal(outcome).code == "contradiction"
