"""docs/adapters.md: its very text is a package that installs, and an adapter that fetches."""

import sys

import pytest

from tests.tutorial import TEXT, files, install, run

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A directory with the package of the tutorial, and its program that tries it."""
    target = tmp_path_factory.mktemp("site-packages")
    install(tmp_path_factory.mktemp("project"), target)
    (target / "try_pricelist.py").write_text(dict(files())["try_pricelist.py"], "utf-8")
    return target


def test_the_tutorial_has_at_most_150_lines_and_three_files():
    assert len(TEXT.splitlines()) <= 150
    assert [name for name, _ in files()] == ["pyproject.toml", "productagg_pricelist.py", "try_pricelist.py"]


def test_its_adapter_is_found_and_fetches(installed):
    assert run([sys.executable, "try_pricelist.py"], cwd=installed) == "It works.\n"


FETCH = """
import sys
from productagg.sources import registry
from productagg.sources.base import Request
from productagg.sources.testing import MemoryWeb
adapter = registry.load("pricelist")
configuration = registry.validate(adapter, {"url": "https://x/"})
for body in eval(sys.argv[1]):
    [outcome] = adapter.fetch(Request(configuration, "Supplier", [], MemoryWeb({"https://x/": body})))
    print(type(outcome).__name__, getattr(outcome, "code", None) or (len(outcome.offers), outcome.complete))
"""
HEAD = b"id; price; name\n"
BAD = {
    b"<html>": "Failure not_a_price_list",
    b"": "Failure not_a_price_list",
    b"\xff\xfe": "Failure not_text",
    HEAD: "Snapshot (0, False)",
    HEAD + b"end": "Snapshot (0, False)",
    HEAD + b"K-1; 12.90 EUR; Kettle\nL-7; 49 E": "Snapshot (1, False)",
    HEAD + b"K-1; 0 EUR; Kettle\nend": "Snapshot (0, False)",
    HEAD + b"K-1; 1 EUR; Kettle\nK-1; 2 EUR; Kettle\nend": "Failure contradiction",
    HEAD + b"K-1; 12.90; Kettle\nL-7; 1 EUR; Lamp\nend": "Snapshot (1, True)",
}


def test_it_closes_nothing_after_bad_input(installed):
    output = run([sys.executable, "-c", FETCH, repr(list(BAD))], cwd=installed)

    assert output.splitlines() == list(BAD.values())
