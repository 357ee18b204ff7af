"""A client that a public generator makes of the contract works with a running `pserve`."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints
from uuid import UUID

import pytest

from tests.conftest import PASSWORD
from tests.functional.pserve import serving

pytestmark = [pytest.mark.processes, pytest.mark.slow]

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
        page = ask("catalogue.list_products", client=anonymous, limit=2, ids=made, **cursor)
        found += [product.id for product in page.parsed]
        if "Next-Cursor" not in page.headers:
            break
        cursor = {"cursor": page.headers["Next-Cursor"]}

    assert found == made


def test_it_asks_for_some_members_only(generated, create, ask, anonymous):
    made = create("Lamp").parsed
    member = generated("models").ListPartialProductsFieldsItem

    (found,) = ask(
        "catalogue.list_partial_products", client=anonymous, fields=[member.NAME, member.LOWEST_PRICE]
    ).parsed

    assert found.to_dict() == {"id": str(made.id), "name": "Lamp", "currency": "EUR", "lowest_price": None}


def test_it_creates_products_together(generated, create, ask):
    create("Lamp")
    models = generated("models")
    items = [models.CreateProductsItem(name=name, description="") for name in ("Chair", "Lamp")]

    created, refused = ask("catalogue.create_products", body=items).parsed

    assert isinstance(created, models.BatchCreated) and isinstance(refused, models.BatchNotCreated)
    assert ask("catalogue.read_product", created.id).parsed.name == "Chair"
    assert refused.problem.code is models.ProblemCode.DUPLICATE_NAME


def test_it_reads_prices_as_csv(create, ask, anonymous):
    product_id = create("Lamp").parsed.id

    found = ask("price_history.download_prices", product_id, client=anonymous, period="P1D")

    assert found.parsed == "at,state,currency,lowest,average,offers,items_in_stock\r\n"
    assert ask("price_history.list_prices", product_id, client=anonymous).parsed.points == []


def test_it_follows_the_changes(create, ask, anonymous):
    start = int(ask("change_feed.read_last_sequence", client=anonymous).headers["Last-Sequence"])
    made = [create(name).parsed.id for name in "ABC"]

    found: list[Any] = []
    since: int | None = start
    while since is not None:
        page = ask("change_feed.list_changes", client=anonymous, since=since, limit=1)
        found += page.parsed
        since = int(page.headers["Next-Cursor"]) if "Next-Cursor" in page.headers else None

    assert [change.product_id for change in found if change.kind == "created"] == made


def test_it_keeps_what_is_unchanged(generated, base_url, create, ask):
    create("Lamp")
    with generated("client").Client(base_url=base_url) as client:
        tag = ask("catalogue.list_products", client=client).headers["ETag"]

        again = ask("catalogue.list_products", client=client, if_none_match=tag)

    assert (again.status_code, again.parsed) == (304, None)


def test_it_changes_a_product_only_if_nobody_else_has(generated, create, ask):
    made = create("Lamp")
    product_id, tag = made.parsed.id, made.headers["ETag"]
    change = generated("models").ChangeProduct(description="Brighter")

    changed = ask("catalogue.change_product", product_id, body=change, if_match=tag)
    refused = ask("catalogue.change_product", product_id, body=change, if_match=tag)

    assert (changed.parsed.name, changed.parsed.description) == ("Lamp", "Brighter")
    assert (refused.status_code, refused.parsed.code) == (412, "stale-version")


TYPED_USE = f"""
from typing import assert_type
from uuid import UUID
from {PACKAGE}.api.catalogue import create_products, list_products, read_product
from {PACKAGE}.api.price_history import download_prices, list_prices, read_trend
from {PACKAGE}.client import Client, AuthenticatedClient
from {PACKAGE}.models import BatchCreated, CreateProductsItem, Problem, ProblemCode, Product, ProductSteps

def use(anyone: Client, admin: AuthenticatedClient, product_id: UUID) -> None:
    page = list_products.sync(client=anyone, ids=[product_id])
    if isinstance(page, list):
        assert_type([(each.name, each.lowest_price) for each in page], list[tuple[str, int | None]])
    elif page is not None:
        assert_type(page.code, ProblemCode)
    assert_type(read_product.sync(product_id, client=anyone), Problem | Product | None)
    assert_type(download_prices.sync(product_id, client=anyone), Problem | str | None)
    series = list_prices.sync(product_id, client=anyone)
    if series is not None and not isinstance(series, Problem | ProductSteps):
        assert_type([each.changes for each in series.points], list[int])
    made = create_products.sync(client=admin, body=[CreateProductsItem(name="Lamp", description="")])
    if isinstance(made, list):
        for each in made:
            assert_type(each.id if isinstance(each, BatchCreated) else each.problem.code, UUID | ProblemCode)
"""


def test_its_types_hold_together_and_need_no_casts(generated, tmp_path):
    use = tmp_path / "use.py"
    use.write_text(TYPED_USE)
    package = Path(generated("client").__file__).parent

    checked = subprocess.run(
        [Path(sys.executable).with_name("mypy"), "--strict", "--config-file=", "--cache-dir", tmp_path, use, package],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


# The generator takes the 204 of a deletion for anything, and HEAD has no body.
UNTYPED = {"delete_product", "delete_source", "unlink_source", "read_last_sequence"}


def test_its_types_say_what_is_answered_and_who_may_ask(generated, subtests):
    document = json.loads(CONTRACT.read_text("utf-8"))
    client = generated("client")
    for item in document["paths"].values():
        for operation in (each for each in item.values() if "operationId" in each):
            name = operation["operationId"]
            module = generated(f"api.{operation['tags'][0].lower().replace(' ', '_')}.{name}")
            hints = get_type_hints(module.sync_detailed)
            with subtests.test(name):
                (answer,) = get_args(hints["return"])
                assert (Any in (answer, *get_args(answer))) == (name in UNTYPED)
                assert (client.Client in (hints["client"], *get_args(hints["client"]))) == ("security" not in operation)


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
