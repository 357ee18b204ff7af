"""The documents agree with the code, and every link between them leads to a heading that exists."""

import configparser
import re
from pathlib import Path

import pytest

from productagg.api.core.errors import ErrorCode
from productagg.settings import OPTIONS
from productagg.sources import registry
from productagg.sources.feed.table import MAPPED_FIELDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT) for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md") for path in ROOT.glob(pattern)
)
# A path from the root of the project, in backticks.
PATH = re.compile(r"`((?:productagg|tests|benchmarks|docs|alembic)/[\w./-]*)`")
FILES_OF_THE_EXAMPLE = {"productagg/api/views/version.py", "tests/functional/test_version.py", "productagg/pages/"}
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def test_the_readme_has_the_table_of_settings():
    rows = [
        f"| `{option.variable}` | `{option.key}` | {_default(option)} | {option.allowed} | {option.meaning} |"
        for option in OPTIONS
    ]
    table = "\n".join(rows)
    assert table in read("README.md"), f"The table must be:\n{table}"


def test_the_api_page_has_every_error_code():
    rows = [f"| `{code}` | {code.status} | {code.advice} |" for code in ErrorCode]
    table = "\n".join(rows)
    assert table in read("docs/api.md"), f"The table must be:\n{table}"


@pytest.mark.parametrize(
    ("kind", "page"),
    [("jsonld", "sources.md"), ("feed", "sources.md"), ("json_api", "json-api.md"), ("json_list", "json-api.md")],
)
def test_each_kind_of_source_has_its_configuration_on_a_page(kind, page):
    text = read(f"docs/{page}")
    for member in registry.load(kind).configuration_schema():
        assert re.search(rf"^\|.*`{member.name}", text, re.MULTILINE), f"docs/{page} does not explain {member.name}"


def test_the_page_about_feeds_has_what_a_column_may_be():
    text = read("docs/sources.md")
    assert [field for field in MAPPED_FIELDS if f"`{field}`" not in text] == []


def test_the_changelog_has_the_version_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")

    versions = re.findall(r"^## \[([^]]+)\]", read("CHANGELOG.md"), re.MULTILINE)

    assert versions[:2] == ["Unreleased", setup["metadata"]["version"]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(document):
    for target, anchor in LINK.findall(read(document)):
        path = (ROOT / document).parent / target if target else ROOT / document
        assert path.exists(), f"{document} links to {target}"
        if anchor:
            assert anchor in headings(path.read_text("utf-8")), f"{document} links to {target}#{anchor}"


def test_every_decision_has_a_status_and_a_date_and_is_in_the_index():
    index = read("docs/decisions/README.md")
    for path in sorted((ROOT / "docs/decisions").glob("0*.md")):
        lines = path.read_text("utf-8").splitlines()

        assert re.fullmatch(r"- Status: (accepted|amended|superseded)\b.*", lines[2]), path.name
        assert re.fullmatch(r"- Date: \d{4}-\d\d-\d\d", lines[3]), path.name
        assert f"({path.name})" in index


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_file_that_a_document_names_exists(document):
    for name in PATH.findall(read(document)):
        assert name in FILES_OF_THE_EXAMPLE or (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), (
            f"{document} names {name}"
        )


def test_every_test_that_the_security_page_names_exists():
    table = read("docs/security.md").partition("**Not defended")[0]
    for row in re.findall(r"^\|.*\|.*\| (.*) \|$", table, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`((?:\w+/|test_|…)[\w./…]*)`", row):
            folder, _, file = name.rpartition("/") if "/" in name else (folder, "", name)
            pattern = f"tests/{folder}/{file.replace('…', '*')}*" if file else f"tests/{folder}"
            assert list(ROOT.glob(pattern)), f"docs/security.md names {name}"


def headings(text):
    """The anchors of a document's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def read(document):
    return (ROOT / document).read_text("utf-8")


def _default(option):
    if option.default is not None:
        return f"`{option.default}`"
    return "**required**" if option.required else "none"
