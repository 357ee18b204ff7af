"""GET /docs: a page that works with nothing but what this service serves."""

import re

import pytest

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem

pytestmark = only_sqlite


def test_the_front_leads_to_the_docs(client):
    answer = client.get("/", status=302)

    assert answer.headers["Location"] == "http://localhost/docs"
    assert answer.follow().content_type == "text/html"


def test_the_page_refers_only_to_what_is_served_here(client):
    page = client.get("/docs")
    references = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/start.js", "openapi.json"} <= set(references)
    for each in references:
        assert client.get(f"/{each}").body


def test_the_page_has_no_inline_script_or_style(client):
    page = client.get("/docs").text

    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|javascript:", page)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("swagger-ui-bundle.js", "text/javascript"),
        ("swagger-ui.css", "text/css"),
        ("start.js", "text/javascript"),
        ("favicon-32x32.png", "image/png"),
    ],
)
def test_a_file_of_the_page_is_what_it_says_and_may_be_kept(client, name, content_type):
    answer = client.get(f"/docs/{name}")

    assert answer.content_type == content_type
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert client.get(f"/docs/{name}", headers={"If-None-Match": answer.headers["ETag"]}).status_int == 304


def test_swagger_ui_is_version_5_or_newer(client):
    found = re.search(r'PACKAGE_VERSION:"(\d+)\.', client.get("/docs/swagger-ui-bundle.js").text)

    assert found and int(found[1]) >= 5


def test_no_other_file_is_to_be_had(send):
    for name in ("index.html", "__init__.py", "..%2Fdocs.py", "%2e%2e/errors.py", "swagger-ui-bundle.js.map", "%00"):
        assert_problem(send("GET", f"/docs/{name}"), "not-found")
