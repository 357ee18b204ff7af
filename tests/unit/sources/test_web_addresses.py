"""Only the public internet is asked, by the addresses that were checked, whatever a name server or a redirect says."""

import socket
import threading
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.web import WebError
from productagg.sources.web.addresses import is_public
from productagg.sources.web.urls import parse
from tests.scripted_server import always, answer
from tests.unit.sources.internet import OTHER, SHOP

REFUSED = {
    "this host": "0.0.0.0",
    "this host's network": "0.1.2.3",
    "private, class A": "10.0.0.1",
    "private, class B": "172.16.0.1",
    "private, class B, the last": "172.31.255.255",
    "private, class C": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "carrier-grade NAT, the last": "100.127.255.255",
    "loopback": "127.0.0.1",
    "loopback, another": "127.255.0.3",
    "link-local": "169.254.1.1",
    "metadata of most clouds": "169.254.169.254",
    "metadata of Alibaba Cloud": "100.100.100.200",
    "metadata of Oracle Cloud": "192.0.0.192",
    "metadata of Azure": "168.63.129.16",
    "documentation": "192.0.2.1",
    "documentation, the second": "198.51.100.1",
    "documentation, the third": "203.0.113.1",
    "6to4 relays": "192.88.99.1",
    "benchmarks": "198.19.0.1",
    "multicast": "224.0.0.1",
    "multicast, the last": "239.255.255.250",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "::",
    "IPv6 loopback": "::1",
    "IPv6 link-local": "fe80::1",
    "IPv6 site-local": "fec0::1",
    "IPv6 unique local": "fd00::1",
    "IPv6 metadata of AWS": "fd00:ec2::254",
    "IPv6 metadata of Google Cloud": "fd20:ce::254",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 documentation, the second": "3fff::1",
    "IPv6 discard": "100::1",
    "IPv6 reserved": "4000::1",
    "IPv4-mapped loopback": "::ffff:127.0.0.1",
    "IPv4-mapped private": "::ffff:10.0.0.1",
    "IPv4-mapped metadata": "::ffff:169.254.169.254",
    "IPv4-compatible loopback": "::127.0.0.1",
    "IPv4-translated private": "::ffff:0:10.0.0.1",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of private": "2002:c0a8:101::1",
    "6to4 of metadata": "2002:a9fe:a9fe::",
    "NAT64 of private": "64:ff9b::10.0.0.1",
    "NAT64 of metadata": "64:ff9b::169.254.169.254",
    "NAT64 of a local prefix": "64:ff9b:1::8.8.8.8",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
}
PUBLIC = [
    *("1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"),
    *("168.63.129.15", "192.0.1.0", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2002:808:808::1"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
]
LOOPBACK_SPELLINGS = {
    "decimal": "http://2130706433/",
    "hexadecimal": "http://0x7f000001/",
    "octal": "http://0177.0.0.1/",
    "short": "http://127.1/",
    "zero": "http://0/",
    "IPv6": "http://[::1]/",
    "IPv6, mapped": "http://[::ffff:7f00:1]/",
    "IPv6 with a zone": "http://[fe80::1%251]/",
}


def refused(web, url, code="address_refused"):
    with pytest.raises(WebError) as raised:
        web.get(url, max_bytes=100)
    assert raised.value.code == code
    return raised.value


@pytest.mark.parametrize("address", REFUSED.values(), ids=REFUSED)
def test_a_name_of_an_address_outside_the_public_internet_is_refused(internet, web, address):
    internet.name("shop.test", address)

    assert "not in the public internet" in refused(web, "http://shop.test/").reason
    assert internet.connected == []


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is_not_refused(internet, web, address):
    internet.name("shop.test", address)

    refused(web, "http://shop.test/", code="no_answer")
    assert [ip_address(connected) for connected in internet.connected] == [ip_address(address)]


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_public_or_not_in_every_form_of_ipv6(address):
    mapped, nat64 = ip_address(f"::ffff:{address}"), ip_address(f"64:ff9b::{address}")
    six_to_four = ip_address((0x2002 << 112) | (int(address) << 80) | 1)

    assert {is_public(mapped), is_public(nat64), is_public(six_to_four)} == {is_public(address)}


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public(address):
    if address.is_multicast or address.is_loopback or address.is_link_local or address.is_unspecified:
        assert not is_public(address)
    if address.is_private and not getattr(address, "ipv4_mapped", None):
        assert not is_public(address)


@pytest.mark.parametrize("url", LOOPBACK_SPELLINGS.values(), ids=LOOPBACK_SPELLINGS)
def test_an_address_in_another_spelling_is_refused(internet, web, url):
    refused(web, url)
    assert internet.connected == []


def test_a_host_of_which_one_address_is_private_is_refused(internet, web):
    internet.name("shop.test", [SHOP, "10.0.0.1"])

    refused(web, "http://shop.test/")
    assert internet.connected == []


def test_a_name_that_changes_to_a_private_address_is_connected_to_as_it_was_checked(internet, web, serve):
    internet.serve(SHOP, serve(always(answer(b"the shop"))))
    internet.serve("127.0.0.1", serve(always(answer(b"a secret"))))
    internet.name("shop.test", SHOP, "127.0.0.1")

    with web.get("http://shop.test/", max_bytes=100) as response:
        assert response.read() == b"the shop"
    assert (internet.look_ups, internet.connected) == (["shop.test"], [SHOP])

    refused(web, "http://shop.test/")
    assert internet.connected == [SHOP]


def test_the_second_address_is_used_if_the_first_does_not_accept(internet, web, serve):
    internet.name("shop.test", [OTHER, SHOP])
    internet.serve(SHOP, serve(always(answer(b"the shop"))))

    with web.get("http://shop.test/", max_bytes=100) as response:
        assert response.read() == b"the shop"
    assert internet.connected == [OTHER, SHOP]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("target", ["http://10.0.0.1/", "http://inside.test/", "http://[::1]:6544/", "//127.0.0.1/"])
def test_a_redirect_to_a_private_address_is_refused(internet, web, serve, status, target):
    url = internet.shop(serve(always(answer(b"", status, f"Location: {target}"))))
    internet.name("inside.test", "192.168.0.1")

    refused(web, url)
    assert internet.connected == [SHOP]


def test_a_redirect_to_the_same_name_is_checked_again(internet, web, serve):
    internet.serve(SHOP, serve(always(answer(b"", "302 Found", "Location: /next"))))
    internet.name("shop.test", SHOP, "127.0.0.1")

    refused(web, "http://shop.test/")
    assert internet.connected == [SHOP]


def test_private_networks_are_asked_if_that_is_allowed(internet, web_client, serve):
    internet.shop(serve(always(answer(b"inside"))), "inside.test", "10.0.0.1")

    with web_client(allow_private_networks=True).begin(5.0).get("http://inside.test/", max_bytes=100) as response:
        assert response.read() == b"inside"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(internet, web, serve, monkeypatch, variable):
    proxy = serve(always(answer(b"a proxy")))
    monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")

    with web.get(internet.shop(serve(always(answer(b"the shop")))), max_bytes=100) as response:
        assert response.read() == b"the shop"
    assert proxy.connections == 0


def test_a_name_without_an_address_is_an_error_of_its_own(internet, web):
    assert "nowhere.test" in refused(web, "http://nowhere.test/", code="unknown_host").reason


def test_a_name_that_no_name_server_can_be_asked_for_is_unknown(internet, web):
    refused(web, f"http://{'x' * 64}.test/", code="unknown_host")


def test_a_name_server_that_does_not_answer_gets_no_more_time_than_the_fetch(web_client, monkeypatch):
    answered = threading.Event()
    client = web_client()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(10) and [])

    assert "name server" in refused(client.begin(0.1), "http://shop.test/", code="timeout").reason
    answered.set()


class TestWhatIsNotAnAddress:
    @pytest.mark.parametrize(
        "url",
        ["file:///etc/passwd", "ftp://shop.test/", "gopher://shop.test/", "data:,x", "shop.test/feed", "//shop.test/"],
    )
    def test_another_scheme_is_refused(self, internet, web, url):
        assert "http" in refused(web, url, code="bad_address").reason

    @pytest.mark.parametrize(
        "url",
        [
            *("", "http://", "http:///feed", "http://shop test/", "http://shop.test:99999/"),
            *("http://１２７.０.０.１/", "http://①②⑦.⓪.⓪.①/"),
        ],
    )
    def test_a_url_without_a_usable_host_is_refused(self, internet, web, url):
        refused(web, url, code="bad_address")

    def test_a_password_in_it_is_refused_and_not_repeated(self, internet, web):
        assert "correct" not in refused(web, "http://me:correct@shop.test/", code="bad_address").reason

    def test_a_url_without_end_is_refused(self, internet, web):
        refused(web, f"http://shop.test/{'x' * 8000}", code="bad_address")

    @given(st.text())
    def test_any_text_is_parsed_or_refused(self, text):
        for url in (text, f"http://{text}", f"https://shop.test/{text}"):
            try:
                parsed = parse(url)
            except WebError:
                continue
            assert parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("HTTP://Shop.Test", "/", "shop.test"),
        ("http://shop.test:80/a b?q=č#fragment", "/a%20b?q=%C4%8D", "shop.test"),
        ("http://shop.test.:8080/", "/", "shop.test:8080"),
        ("http://bücher.test/", "/", "xn--bcher-kva.test"),
        ("http://shop.test/a/../b", "/b", "shop.test"),
    ],
)
def test_an_address_is_sent_in_its_normal_form(internet, web, serve, url, target, authority):
    server = serve(always(answer()))
    for host in ("shop.test", "shop.test.", "xn--bcher-kva.test"):
        internet.shop(server, host)

    with web.get(url, max_bytes=100):
        pass

    assert (server.requests[0].target, server.requests[0].header("Host")) == (target, [authority])


def test_an_ipv6_address_keeps_its_brackets_in_the_header_host():
    url = parse("http://[2606:4700::1111]:8080/x")

    assert (url.host, url.authority, str(url)) == (
        "2606:4700::1111",
        "[2606:4700::1111]:8080",
        "http://[2606:4700::1111]:8080/x",
    )
