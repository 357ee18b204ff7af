"""The client's address and scheme: from its connection or from the trusted proxy, in one spelling."""

import pytest

from productagg.server.proxies import TrustedProxy

PROXY = "192.0.2.1"
CLIENT = "203.0.113.7"


def client(trusted=PROXY, peer=PROXY, **headers):
    return TrustedProxy(trusted).client(headers, peer, "http")


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}:4711", CLIENT),
        (f'"{CLIENT}:4711"', CLIENT),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"[::ffff:{CLIENT}]:4711", CLIENT),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("[fe80::1%eth0]:4711", "fe80::1"),
        ("fe80::1%eth0", "fe80::1"),
        (f"{CLIENT}:_hidden", CLIENT),
        (f"198.51.100.1, {CLIENT}", CLIENT),
        (f"198.51.100.1,[2001:db8::2]:1 ,\t{CLIENT}:4711 ", CLIENT),
    ],
)
def test_an_address_has_one_spelling_however_the_proxy_writes_it(header, address):
    assert client(X_FORWARDED_FOR=header).address == address


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "unknown",
        "_hidden",
        "_hidden:80",
        "203.0.113.999",
        "203.0.113.07",
        "[]",
        "[x]:1",
        f"{CLIENT},",
        "a:b:c",
    ],
)
def test_a_value_that_is_not_an_address_leaves_the_proxys_own(header):
    assert client(X_FORWARDED_FOR=header).address == PROXY


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("::ffff:203.0.113.7", CLIENT),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("localhost", "localhost"),
    ],
)
def test_a_connections_own_address_has_the_same_spelling(peer, address):
    assert client(None, peer).address == address


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        (PROXY, PROXY, True),
        (PROXY, f"::ffff:{PROXY}", True),
        (PROXY, "192.0.2.2", False),
        ("192.0.2.0/24", "192.0.2.200", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8:1::1", True),
        ("*", "198.51.100.9", True),
        (PROXY, "localhost", False),
        (None, PROXY, False),
    ],
)
def test_only_the_trusted_proxy_is_believed(trusted, peer, believed):
    seen = client(trusted, peer, X_FORWARDED_FOR=CLIENT, X_FORWARDED_PROTO="https")

    assert (seen.address == CLIENT) is believed
    assert (seen.scheme == "https") is believed


@pytest.mark.parametrize("wrong", ["", "proxy.example", "192.0.2.1/24", "192.0.2.1, 192.0.2.2", "**"])
def test_only_an_address_or_a_network_can_be_trusted(wrong):
    with pytest.raises(ValueError, match=r".*"):
        TrustedProxy(wrong)


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("", "http"),
        ("https,http", "http"),
        ("http, https", "https"),
    ],
)
def test_the_last_of_several_schemes_counts(header, scheme):
    assert client(X_FORWARDED_PROTO=header).scheme == scheme


@pytest.mark.parametrize("header", ["wss", "https;http", "on", "https,ftp"])
def test_an_unknown_scheme_is_refused_from_a_trusted_proxy_and_ignored_otherwise(header):
    with pytest.raises(ValueError, match="X-Forwarded-Proto is neither http nor https"):
        client(X_FORWARDED_PROTO=header)
    assert client(None, X_FORWARDED_PROTO=header).scheme == "http"


@pytest.mark.parametrize("trusted", [PROXY, None])
def test_the_headers_of_proxies_are_removed(trusted):
    names = ("FOR", "PROTO", "HOST", "PORT", "BY")
    headers = {"FORWARDED": "for=1.2.3.4", "HOST": "shop.example", **{f"X_FORWARDED_{name}": "http" for name in names}}

    TrustedProxy(trusted).client(headers, PROXY, "http")

    assert headers == {"HOST": "shop.example"}
