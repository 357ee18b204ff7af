"""Options of the server that cannot be used: it does not start, and one line says why."""

import re

import pytest

from tests.functional.pserve import refused_options


@pytest.mark.parametrize("port", ["99999", "65536", "0x50", "-1", "+1", "80.5", "", " 80", "\N{FULLWIDTH DIGIT EIGHT}"])
def test_a_port_that_is_none_is_one_line(port):
    said = refused_options(f"http_port={port}")

    assert said == f"productagg: http_port is {port!r}, not a whole number from 0 to 65535"


@pytest.mark.parametrize("host", ["nowhere.invalid", "1.2.3.4.5", "", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_one_line(host):
    said = refused_options("http_port=0", f"http_host={host}")

    assert said.startswith(f"productagg: cannot listen on {host}:0: ")


@pytest.mark.parametrize("wrong", ["", "proxy.example", "10.0.0.1/8"])
def test_a_proxy_that_is_no_address_is_one_line(wrong):
    said = refused_options("http_port=0", f"trusted_proxy={wrong}")

    assert said == f"productagg: trusted_proxy is {wrong!r}, not an IP address, a network such as 10.0.0.0/8, or *"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("port = 70000", "port is '70000', not a whole number from 0 to 65535"),
        ("threads = 0", "threads is '0', not a whole number of 1 or more"),
        ("threads = many", "an option of [server:main] is wrong: invalid literal for int() with base 10: 'many'"),
        ("thread = 8", "an option of [server:main] is wrong: Unknown adjustment 'thread'"),
    ],
)
def test_an_option_of_the_ini_file_that_is_wrong_is_one_line(tmp_path, pytestconfig, line, why):
    ini = tmp_path / "wrong.ini"
    right = (pytestconfig.rootpath / "development.ini").read_text()
    name = line.partition(" ")[0]
    ini.write_text(re.sub(rf"(?m)^{name} = .*\n", "", right).replace("[server:main]\n", f"[server:main]\n{line}\n"))

    assert refused_options(ini=ini) == f"productagg: {why}"
