"""What else an offer says: availability, condition, seller, address, stock, and what the page says of the product."""

import pytest

from tests.unit.sources.jsonld.pages import URL, html, offer, offer_of, product, read, read_blocks


def only(*, head="", group=None, **more):
    return offer_of(read_blocks(product(offer(**more), **(group or {})), head=head))


class TestAvailability:
    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("InStock", "in_stock"),
            ("OnlineOnly", "in_stock"),
            ("LimitedAvailability", "in_stock"),
            ("InStoreOnly", "in_stock"),
            ("OutOfStock", "out_of_stock"),
            ("SoldOut", "out_of_stock"),
            ("Reserved", "out_of_stock"),
            ("PreOrder", "preorder"),
            ("PreSale", "preorder"),
            ("BackOrder", "backorder"),
            ("MadeToOrder", "backorder"),
            ("Discontinued", "discontinued"),
            ("Sometimes", "unknown"),
        ],
    )
    @pytest.mark.parametrize("spelling", ["https://schema.org/{}", "http://schema.org/{}", "{}", "  {} "])
    def test_the_table_of_values(self, word, expected, spelling):
        assert only(availability=spelling.format(word)).availability == expected

    @pytest.mark.parametrize("missing", [None, "", " ", []])
    def test_missing_is_unknown(self, missing):
        assert only(availability=missing).availability == "unknown"

    def test_as_a_node(self):
        assert only(availability={"@id": "https://schema.org/OutOfStock"}).availability == "out_of_stock"

    def test_two_words_for_the_same_agree_and_others_are_unknown(self):
        assert only(availability=["InStock", "OnlineOnly"]).availability == "in_stock"
        assert only(availability=["InStock", "SoldOut"]).availability == "unknown"

    @pytest.mark.parametrize("word", ["PreOrder", "BackOrder"])
    def test_what_can_be_ordered_while_there_is_none_is_not_in_stock(self, word):
        assert only(availability=word).availability != "in_stock"


class TestCondition:
    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("NewCondition", "new"),
            ("RefurbishedCondition", "refurbished"),
            ("UsedCondition", "used"),
            ("DamagedCondition", "used"),
            ("Condition", "unknown"),
            ("", "unknown"),
        ],
    )
    def test_the_table_of_values_on_the_offer_or_the_product(self, word, expected):
        assert only(itemCondition=f"https://schema.org/{word}").condition == expected
        assert only(group={"itemCondition": f"http://schema.org/{word}"}).condition == expected

    def test_the_offers_own_wins(self):
        assert only(itemCondition="UsedCondition", group={"itemCondition": "NewCondition"}).condition == "used"


class TestSeller:
    SITE = '<meta property="og:site_name" content="Lamps &amp; Co">'

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            ({"seller": {"@type": "Organization", "name": "Shop"}, "offeredBy": {"name": "Other"}}, "Shop"),
            ({"seller": "Shop"}, "Shop"),
            ({"offeredBy": {"@type": "Organization", "name": "Other"}}, "Other"),
            ({"seller": {"@type": "Organization", "name": ""}}, "Lamps & Co"),
            ({}, "Lamps & Co"),
        ],
    )
    def test_the_offers_seller_then_who_offers_it_then_the_sites_name(self, more, expected):
        assert only(head=self.SITE, **more).seller == expected

    def test_then_the_host(self):
        assert offer_of(read_blocks(product(offer()), locator="https://www.shop.example/p")).seller == "shop.example"

    def test_by_reference(self):
        graph = {
            "@graph": [
                {"@type": "Organization", "@id": "#shop", "name": "Shop"},
                product(offer(seller={"@id": "#shop"})),
            ]
        }

        assert offer_of(read_blocks(graph)).seller == "Shop"

    def test_the_configured_one_is_for_offers_that_name_none(self):
        assert offer_of(read_blocks(product(offer()), head=self.SITE, seller="Mine")).seller == "Mine"
        assert offer_of(read_blocks(product(offer(seller="Shop")), seller="Mine")).seller == "Shop"


class TestAddress:
    def test_the_offers_then_the_products_then_the_canonical_one(self):
        head = f'<link rel="canonical" href="{URL}?c=1">'

        assert only(url=f"{URL}?o=1", group={"url": f"{URL}?p=1"}, head=head).url == f"{URL}?o=1"
        assert only(group={"url": f"{URL}?p=1"}, head=head).url == f"{URL}?p=1"
        assert only(head=head).url == f"{URL}?c=1"
        assert only().url == URL

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("/products/lamp?variant=1", f"{URL}?variant=1"),
            ("lamp#/1-red", f"{URL}#/1-red"),
            ("//shop.example/products/lamp", URL),
            ("?variant=1", f"{URL}?variant=1"),
            ("lamp?name=a b", f"{URL}?name=a%20b"),
        ],
    )
    def test_it_is_resolved(self, url, expected):
        assert only(url=url, group={"mainEntityOfPage": URL}).url == expected

    def test_relative_to_the_base_of_the_page(self):
        lamp = only(url="lamp", head='<base href="https://shop.example/en/">', group={"mainEntityOfPage": URL})

        assert lamp.url == "https://shop.example/en/lamp"

    @pytest.mark.parametrize(
        "url", ["javascript:alert(1)", "https://user:pw@shop.example/", "http://[", "mailto:a@b", ""]
    )
    def test_what_is_no_link_is_none(self, url):
        assert only(url=url, group={"mainEntityOfPage": URL}).url == URL


class TestItemsInStock:
    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            ({"@type": "QuantitativeValue", "value": 5}, 5),
            ({"value": "12"}, 12),
            ({"value": 3.0}, 3),
            (0, 0),
            ({"value": -4}, None),
            ({"minValue": 5}, None),
            ("many", None),
            ([1, 2], None),
            ({"value": 10**12}, None),
        ],
    )
    def test_the_inventory_level_if_it_is_a_number_of_items(self, level, expected):
        assert only(inventoryLevel=level).items_in_stock == expected

    def test_in_stock_without_a_number_is_not_told(self):
        assert only().items_in_stock is None


class TestTheProduct:
    @pytest.mark.parametrize(
        ("field", "text", "expected"),
        [
            ("gtin13", "4006381333931", "4006381333931"),
            ("gtin", "4006381333931", "4006381333931"),
            ("gtin12", "036000291452", "0036000291452"),
            ("gtin14", "04006381333931", "4006381333931"),
            ("gtin8", "96385074", "96385074"),
            ("isbn", "978-0-306-40615-7", "9780306406157"),
            ("gtin13", "4006381333932", None),
            ("gtin13", "2001234567893", None),
            ("gtin", "LAMP-1", None),
            ("gtin", "0000000000000", None),
        ],
    )
    def test_the_gtin_is_checked_and_padded(self, field, text, expected):
        assert only(group={field: text}).product.gtin == expected

    def test_a_gtin_of_the_offer_counts(self):
        assert only(gtin13="4006381333931").product.gtin == "4006381333931"

    def test_two_gtins_are_none(self):
        assert only(group={"gtin13": "4006381333931", "gtin8": "96385074"}).product.gtin is None

    def test_brand_category_description_and_image(self):
        facts = only(
            group={
                "description": "Bright.\n  Very.",
                "brand": {"@type": "Brand", "name": "Lumen"},
                "category": ["Lamps", "Home"],
                "image": [{"@type": "ImageObject", "contentUrl": "/i/1.jpg"}, "/i/2.jpg"],
            }
        ).product

        assert facts == ("Lamp", "Bright. Very.", None, "Lumen", "Lamps", "https://shop.example/i/1.jpg")

    @pytest.mark.parametrize("image", ["/i/1.jpg", ["/i/1.jpg"], {"url": "/i/1.jpg"}, {"@id": "/i/1.jpg"}])
    def test_images_in_all_forms(self, image):
        assert only(group={"image": image}).product.image_url == "https://shop.example/i/1.jpg"

    def test_characters_that_cannot_be_stored_are_replaced(self):
        assert only(group={"brand": "A\x00B\u0085C"}).product.brand == "A B C"


class TestEncodings:
    LAMP = html(product(offer(), name="Žárovka"), head="{meta}")

    @pytest.mark.parametrize(
        ("encoding", "header", "meta"),
        [
            ("utf-8", "charset=utf-8", ""),
            ("utf-8", 'charset="UTF-8"', ""),
            ("utf-8", "", "<meta charset=utf-8>"),
            ("utf-8", "", ""),
            ("utf-8-sig", "charset=windows-1250", ""),
            ("cp1250", "charset=windows-1250", ""),
            ("cp1250", "charset=windows-1250", "<meta charset=utf-8>"),
            ("cp1250", "", '<meta http-equiv="Content-Type" content="text/html; charset=windows-1250">'),
            ("iso-8859-2", "charset=ISO-8859-2", ""),
            ("utf-16", "", ""),
            ("utf-16-le", "charset=utf-16le", ""),
            ("gb18030", "charset=gb2312", ""),
            ("utf-8", "charset=x-unknown", ""),
            ("utf-8", "charset=base64", ""),
            ("utf-8", "", "<meta charset=utf-16>"),
        ],
    )
    def test_header_meta_and_byte_order_mark_tell_the_encoding(self, encoding, header, meta):
        body = self.LAMP.replace("{meta}", meta).encode(encoding)

        lamp = offer_of(read(body, content_type=f"text/html; {header}"))

        assert (lamp.price, lamp.product.name) == (1999, "Žárovka")

    def test_bytes_without_a_declaration_that_are_not_utf_8_are_windows_1252(self):
        body = html(product(offer(), name="Glühbirne")).encode("cp1252")

        assert offer_of(read(body, content_type="")).product.name == "Glühbirne"

    def test_a_wrong_declaration_spoils_letters_but_no_price(self):
        lamp = offer_of(read(html(product(offer(), name="Glühbirne")).encode("cp1252")))

        assert (lamp.price, lamp.product.name) == (1999, "Gl\ufffdhbirne")
