"""A client that a public generator makes of the contract works with a running `pserve`."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.conftest import PASSWORD
from tests.functional.pserve import serving

CONTRACT = Path(__file__).parents[2] / "docs" / "openapi.json"
PACKAGE = "generated_productagg_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Import something of the generated package: `generated("models").CreateProduct`."""
    folder = tmp_path_factory.mktemp("generated")
    config = folder / "config.json"
    config.write_text('{"post_hooks": []}')
    subprocess.run(
        [
            Path(sys.executable).with_name("openapi-python-client"),
            *("generate", "--path", CONTRACT, "--output-path", folder / PACKAGE),
            *("--meta", "none", "--config", config, "--fail-on-warning"),
        ],
        check=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture(scope="module")
def server(migrated_database, tmp_path_factory):
    with serving(migrated_database, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def base_url(server, users):
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def anonymous(generated, base_url):
    with generated("client").Client(base_url=base_url, raise_on_unexpected_status=True) as client:
        yield client


@pytest.fixture
def client(generated, base_url, anonymous):
    """A client that has logged in."""
    account = generated("models").LogIn(username="admin", password=PASSWORD)
    token = generated("api.login.log_in").sync(client=anonymous, body=account).access_token
    with generated("client").AuthenticatedClient(
        base_url=base_url, token=token, raise_on_unexpected_status=True
    ) as client:
        yield client


@pytest.fixture
def ask(generated, client):
    """Call an operation as somebody who has logged in: `ask("catalogue.read_product", id)`: the whole answer."""

    def ask(operation, *arguments, client=client, **others):
        return generated(f"api.{operation}").sync_detailed(*arguments, client=client, **others)

    return ask


@pytest.fixture
def create(generated, ask):
    def create(name):
        return ask("catalogue.create_product", body=generated("models").CreateProduct(name=name, description="Bright"))

    return create


def test_it_creates_and_reads_a_product(create, ask):
    made = create("Lamp")

    found = ask("catalogue.read_product", made.parsed.id)

    assert (made.status_code, found.status_code) == (201, 200)
    assert (found.parsed.name, found.parsed.description, found.parsed.offers) == ("Lamp", "Bright", [])
    assert found.parsed.created_at.utcoffset() is not None
    assert found.parsed.sync.failures >= 0  # which an admin may see
    assert ask("price_history.read_verdict", made.parsed.id).parsed.verdict is None


def test_it_pages_through_the_catalogue(create, ask, anonymous):
    made = [create(name).parsed.id for name in "ABCDE"]

    found: list[UUID] = []
    cursor: dict[str, str] = {}
    while True:
        page = ask("catalogue.list_products", client=anonymous, limit=2, **cursor)
        found += [product.id for product in page.parsed]
        following = re.search(r'[?&]cursor=([^>&]+)>; rel="next"', page.headers["Link"])
        if following is None:
            break
        cursor = {"cursor": following[1]}

    assert found == made


def test_it_changes_a_product_only_if_nobody_else_has(generated, create, ask):
    made = create("Lamp")
    product_id, tag = made.parsed.id, made.headers["ETag"]
    change = generated("models").ChangeProduct(description="Brighter")

    changed = ask("catalogue.change_product", product_id, body=change, if_match=tag)
    refused = ask("catalogue.change_product", product_id, body=change, if_match=tag)

    assert (changed.parsed.name, changed.parsed.description) == ("Lamp", "Brighter")
    assert (refused.status_code, refused.parsed.code) == (412, "stale-version")


def test_it_deletes_a_product(create, ask):
    product_id = create("Lamp").parsed.id

    assert ask("catalogue.delete_product", product_id).status_code == 204
    assert ask("catalogue.read_product", product_id).parsed.code == "product-not-found"


def test_it_understands_what_is_wrong(generated, create, ask, anonymous):
    create("Lamp")
    nameless = generated("models").CreateProduct(name="", description="")

    assert create("Lamp").parsed.code == "duplicate-name"
    assert ask("catalogue.create_product", body=nameless).parsed.errors[0].pointer == "/name"
    assert ask("sync.list_runs", client=anonymous).parsed.code == "authentication-required"
