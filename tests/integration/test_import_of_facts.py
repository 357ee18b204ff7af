"""Facts of products in files: imported, compared, changed by --update, exported."""

import json

import pytest

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.product_values import FACTS
from productagg.db.models import Product
from tests.factories import LONG_AGO, make_product, rows

KNOWN = ("4006381333931", "Łampa, Ltd", "Home > Lamps", "https://images.example/lamp.jpg")
HEADER = "name,description,gtin,brand,category,image_url"


def facts(database):
    return {row.name: tuple(getattr(row, fact) for fact in FACTS) for row in rows(database, Product)}


def test_csv_brings_facts_and_an_empty_field_is_not_known(database, run, write):
    path = write("products.csv", HEADER, f'A,a,400-6381-333931,"{KNOWN[1]}",{KNOWN[2]},{KNOWN[3]}', "B,b,,,,")

    assert run("import", path).exit_code == 0

    assert facts(database) == {"A": KNOWN, "B": (None,) * 4}


def test_a_file_may_have_some_of_the_columns(database, run, write):
    assert run("import", write("products.csv", "brand,name,description", "Łampa,A,a")).exit_code == 0

    assert facts(database) == {"A": (None, "Łampa", None, None)}


def test_ndjson_brings_facts_and_null_is_not_known(database, run):
    lines = [
        {"name": "A", "description": "", **dict(zip(FACTS, KNOWN, strict=True))},
        {"name": "B", "description": "", "brand": None},
        {"name": "C", "description": ""},
    ]

    done = run("import", "-", "--format", "ndjson", typed="\n".join(map(json.dumps, lines)))

    assert done.exit_code == 0
    assert facts(database) == {"A": KNOWN, "B": (None,) * 4, "C": (None,) * 4}


def test_invalid_facts_are_reported_by_line(database, run, write):
    path = write("products.csv", HEADER, "A,a,4006381333932,,,", "B,b,, ,,", "C,c,,,,ftp://images.example/", "D,d,,,,x")

    done = run("import", path)

    assert [line.removeprefix(f"{path}:") for line in done.stderr.splitlines()] == [
        "2: gtin must be a GTIN with a right check digit, and not a number that a shop assigned itself",
        "3: brand must not be empty",
        "4: image_url must be an http or https URL without a user name and without white space",
        "5: image_url must be an http or https URL without a user name and without white space",
    ]
    assert facts(database) == {}


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_what_is_exported_is_imported_with_its_facts(database, run, form):
    with database.sessions.begin() as session:
        create_many(session, [NewProduct("A", "a", None, LONG_AGO, None, *KNOWN), NewProduct("B", "b", brand="B")])
    exported = run("export", "--format", form).stdout_bytes
    before = rows(database, Product)

    database.empty()
    assert run("import", "-", "--format", form, typed=exported).exit_code == 0

    assert rows(database, Product) == before
    assert run("export", "--format", form).stdout_bytes == exported
    again = run("import", "-", "--format", form, "--update", typed=exported)
    assert again.stdout == "import: 0 products created, 2 existed already, 0 changed, 0 invalid lines\n"


@pytest.mark.parametrize("place", range(4))
def test_another_fact_is_another_value_and_update_takes_it(database, run, write, place):
    with database.sessions.begin() as session:
        create_many(session, [NewProduct("A", "a", None, None, None, "73513537", "X", "X", "https://x.example/")])
    fields = [""] * 4
    fields[place] = f'"{KNOWN[place]}"'
    path = write("products.csv", HEADER, f"A,a,{','.join(fields)}")

    assert "(1 of them with other values: --update takes the file's)" in run("import", path).stdout
    assert run("import", "--update", path).stdout.startswith("import: 0 products created, 0 existed already, 1 changed")

    expected = ["73513537", "X", "X", "https://x.example/"]
    expected[place] = KNOWN[place]
    assert facts(database) == {"A": tuple(expected)}
    assert rows(database, Product)[0].version == 2


@pytest.mark.parametrize("options", [[], ["--update"]])
def test_what_a_file_does_not_know_is_no_other_value(database, run, write, options):
    product_id = make_product(database, "A", "a")
    with database.sessions.begin() as session:
        products.change(session, product_id, LONG_AGO, brand="X")

    for lines in (["name,description", "A,a"], [HEADER, "A,a,,,,"]):
        done = run("import", *options, write("products.csv", *lines))
        assert done.stdout == "import: 0 products created, 1 existed already, 0 changed, 0 invalid lines\n"

    assert facts(database) == {"A": (None, "X", None, None)}
