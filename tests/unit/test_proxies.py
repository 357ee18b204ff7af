"""Who a client is: what its connection says, or the proxy that is trusted, in one spelling."""

import pytest

from productagg.server.proxies import TrustedProxy

PROXY = "192.0.2.1"
CLIENT = "203.0.113.7"


def client(trusted=PROXY, peer=PROXY, **headers):
    return TrustedProxy(trusted).client(headers, peer, "http")


@pytest.mark.parametrize(
    ("said", "address"),
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
def test_an_address_has_one_spelling_however_the_proxy_writes_it(said, address):
    assert client(X_FORWARDED_FOR=said).address == address


@pytest.mark.parametrize(
    "said",
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
def test_what_is_no_address_counts_as_the_proxys_own(said):
    assert client(X_FORWARDED_FOR=said).address == PROXY


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
def test_only_the_proxy_that_is_trusted_is_believed(trusted, peer, believed):
    found = client(trusted, peer, X_FORWARDED_FOR=CLIENT, X_FORWARDED_PROTO="https")

    assert (found.address == CLIENT) is believed
    assert (found.scheme == "https") is believed


@pytest.mark.parametrize("wrong", ["", "proxy.example", "192.0.2.1/24", "192.0.2.1, 192.0.2.2", "**"])
def test_what_is_neither_an_address_nor_a_network_cannot_be_trusted(wrong):
    with pytest.raises(ValueError, match=r".*"):
        TrustedProxy(wrong)


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("", "http"),
        ("https,http", "http"),
        ("http, https", "https"),
    ],
)
def test_of_several_schemes_the_proxys_own_counts(said, scheme):
    assert client(X_FORWARDED_PROTO=said).scheme == scheme


@pytest.mark.parametrize("said", ["wss", "https;http", "on", "https,ftp"])
def test_a_scheme_that_does_not_exist_is_refused_unless_nobody_believes_it(said):
    with pytest.raises(ValueError, match="X-Forwarded-Proto is neither http nor https"):
        client(X_FORWARDED_PROTO=said)
    assert client(None, X_FORWARDED_PROTO=said).scheme == "http"


@pytest.mark.parametrize("trusted", [PROXY, None])
def test_the_application_sees_no_header_of_a_proxy(trusted):
    names = ("FOR", "PROTO", "HOST", "PORT", "BY")
    headers = {"FORWARDED": "for=1.2.3.4", "HOST": "shop.example", **{f"X_FORWARDED_{name}": "http" for name in names}}

    TrustedProxy(trusted).client(headers, PROXY, "http")

    assert headers == {"HOST": "shop.example"}
