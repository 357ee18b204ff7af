"""`productagg import`: the files it accepts, the lines it refuses, and what it does with existing products."""

import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from productagg.catalog import import_export
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.matching import existing_matches
from productagg.catalog.product_schema import NEW_PRODUCT
from productagg.catalog.products import remove
from productagg.cli import import_run
from productagg.cli.import_records import new_product
from productagg.db.models import Product, ProductSource, ProductSummary
from productagg.schema_types import validate
from tests.databases import only_sqlite
from tests.factories import LONG_AGO, environment, make_product, rows, sync_row
from tests.scale import examples

HEADER = "id,name,description,created_at,updated_at"
ID = UUID("019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10")


def catalogue(database):
    """The products with everything that an export contains."""
    return [(row.id, row.name, row.description, row.created_at, row.updated_at) for row in rows(database, Product)]


def names(database):
    return [row.name for row in rows(database, Product)]


def test_products_are_added_in_the_order_of_the_file_and_are_due_for_registration_at_once(database, run, write):
    path = write("products.csv", "name,description", "Zebra,Stripes", '" Apple ","One', 'two"', "Middle,")
    before = datetime.now(UTC)

    done = run("import", path)

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "import: 3 products created, 0 existed already, 0 changed, 0 invalid lines\n"
    assert [(row.name, row.description, row.version) for row in rows(database, Product)] == [
        ("Zebra", "Stripes", 1),
        ("Apple", "One\ntwo", 1),
        ("Middle", "", 1),
    ]
    for row in rows(database, Product):
        sync = sync_row(database, row.id)
        assert before <= row.created_at == row.updated_at == sync.next_sync_at <= datetime.now(UTC)
        assert (sync.registration, sync.failures) == ("pending", 0)
    assert len(rows(database, ProductSummary)) == 3


def test_what_is_brought_along_is_kept_and_the_product_is_due_now(database, run):
    line = {
        "id": str(ID),
        "name": "Lamp",
        "description": "Shines",
        "created_at": "2020-01-01T01:00:00+01:00",
        "updated_at": "2021-01-01T00:00:00.000001Z",
    }

    done = run("import", "-", "--format", "ndjson", typed=json.dumps(line))

    assert done.exit_code == 0
    assert catalogue(database) == [(ID, "Lamp", "Shines", LONG_AGO, datetime(2021, 1, 1, 0, 0, 0, 1, UTC))]
    assert sync_row(database, ID).next_sync_at > datetime.now(UTC) - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("products.csv", [], ["name,description", "A,b"]),
        ("products", [], ["\ufeffdescription,name,updated_at,id", "b,A,,"]),
        ("products.ndjson", [], ['{"name": "A", "description": "b", "id": null}']),
        ("products.JSONL", [], ["", '{"name": "A", "description": "b"}']),
        ("products.txt", ["--format", "ndjson"], ['{"name": "A", "description": "b"}']),
    ],
)
def test_a_file_comes_in_several_guises(database, run, write, name, options, lines):
    assert run("import", write(name, *lines), *options).exit_code == 0
    assert [(row.name, row.description) for row in rows(database, Product)] == [("A", "b")]


@pytest.mark.parametrize(("form", "content"), [("csv", f"{HEADER}\n"), ("ndjson", "")])
def test_an_empty_catalogue_can_be_imported(database, run, form, content):
    done = run("import", "-", "--format", form, typed=content)

    assert (done.exit_code, done.stderr) == (0, "")


def test_invalid_lines_are_reported_by_number_and_all_others_are_imported(database, run, write):
    path = write(
        "products.csv",
        HEADER,
        ",A,good,,",
        ",,nameless,,",
        f",{'x' * 201},too long,,",
        ',"two',
        'lines",A name has one,,',
        ",A\x07,rings,,",
        ",B,\x00,,",
        f",B,{'x' * 10_001},,",
        "1,B,b,,",
        ",B,b,yesterday,",
        ",B,b,2999-01-01T00:00:00Z,",
        ",B,b,2020-01-02T00:00:00Z,2020-01-01T00:00:00Z",
        ",B,b,,2020-01-01T00:00:00Z",
        ",B,b",
        '"",""B"",b,,',
        ",A,again,,",
        ",C,good,,",
    )

    done = run("import", path)

    assert done.exit_code == 1
    assert done.stdout == "import: 2 products created, 0 existed already, 0 changed, 14 invalid lines\n"
    assert done.stderr.splitlines() == [
        f"{path}:3: name must not be empty",
        f"{path}:4: name must have at most 200 characters",
        f"{path}:5: name must not contain control characters",
        f"{path}:7: name must not contain control characters",
        f"{path}:8: description must not contain control characters",
        f"{path}:9: description must have at most 10000 characters",
        f"{path}:10: id '1' is not a UUID",
        f"{path}:11: 'yesterday' is not a time like 2026-01-31T12:00:00Z, with at most 6 decimals",
        f"{path}:12: created_at 2999-01-01T00:00:00Z is in the future",
        f"{path}:13: updated_at is before created_at",
        f"{path}:14: updated_at is before now, and created_at is missing",
        f"{path}:15: it has 3 fields, not 5",
        f"{path}:16: it is not CSV: ',' expected after '\"'",
        f"{path}:17: line 2 has the same name",
    ]
    assert names(database) == ["A", "C"]


def test_a_line_with_wrong_quotes_is_one_bad_line(database, run, write):
    path = write("products.csv", "name,description", "A,a", '"55" TV",big', "B,b", '"C","c"', '"42" TV",small', "?")

    done = run("import", path)

    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{path}:3: it is not CSV: ',' expected after '\"'",
        f"{path}:6: it is not CSV: ',' expected after '\"'",
        f"{path}:7: it has 1 fields, not 2",
    ]
    assert names(database) == ["A", "B", "C"]


def test_a_file_in_utf_16_is_named_for_what_it_is(database, run, tmp_path):
    path = tmp_path / "products.csv"
    path.write_text("name,description\nA,a\n", "utf-16")

    done = run("import", str(path))

    assert done.exit_code == 2
    assert done.stderr.splitlines()[0] == f"{path}:1: the file is UTF-16; save it as UTF-8"
    assert names(database) == []


def test_a_field_that_occurs_twice_is_invalid_as_it_is_for_a_client(run):
    done = run("import", "-", "--format", "ndjson", typed='{"name": "A", "name": "B", "description": ""}\n')

    assert done.exit_code == 1
    assert "the member 'name' occurs more than once" in done.stderr


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": 1}, "name must be a string"),
        ({"description": None}, "description must be a string"),
        ({"name": " \u3000", "description": False}, "name must not be empty; description must be a string"),
        ({"name": "\ud800"}, "it is not JSON"),
        ({"version": 7}, "unknown field 'version'; the fields are id, name, description, created_at, updated_at"),
        ({"id": 1}, "id 1 is not a UUID"),
        ({"id": ""}, "id '' is not a UUID"),
        ({"id": f"{{{ID}}}"}, "is not a UUID"),
        ({"created_at": 1}, "created_at is not a time"),
        ({"updated_at": ""}, "'' is not a time"),
        ({"created_at": "0001-01-01T00:00:00+00:01"}, "is not a time: date value out of range"),
        ({"updated_at": "9999-12-31T23:59:59-00:01"}, "is not a time: date value out of range"),
        ({"created_at": "1970-01-01T00:00:00+00:01"}, "is before 1970"),
        ({"updated_at": "9999-12-31T23:59:59+00:01"}, "is in the future"),
    ],
)
def test_an_invalid_line_of_ndjson_gets_the_messages_that_a_client_gets(database, run, values, reason):
    done = run("import", "-", "--format", "ndjson", typed=json.dumps({"name": "A", "description": "", **values}))

    assert done.exit_code == 1
    assert done.stderr.startswith("-:1: ")
    assert reason in done.stderr
    assert names(database) == []


@pytest.mark.parametrize(("line", "reason"), [('{"name": "A"}', "the field description is missing"), ("[]", "object")])
def test_a_line_of_ndjson_that_is_no_product_is_bad(database, run, line, reason):
    assert reason in run("import", "-", "--format", "ndjson", typed=line).stderr


def test_with_a_wrong_header_nothing_is_imported(database, run, write):
    path = write("products.csv", "name,price", "A,1")

    done = run("import", path)

    assert (done.exit_code, done.stdout) == (2, "")
    told, ended = done.stderr.splitlines()
    assert told.startswith(f"{path}:1: unknown column 'price'; the columns are id, name, description, created_at, ")
    assert ended.startswith("Error: nothing was imported from line 1 on: correct the file, then run it again")


def test_in_an_empty_file_there_is_no_line_to_correct(database, run):
    done = run("import", "-", typed="")

    assert done.exit_code == 2
    assert "correct the file, then run it again; it skips the products that exist" in done.stderr


def test_what_comes_after_an_open_quote_is_not_imported_until_it_is_corrected(database, run, write):
    lines = ["name,description", "A,a", 'B,"b', "Not a product,but a line", 'C,"c"', "D,d"]

    broken = run("import", write("products.csv", *lines))

    assert broken.exit_code == 2
    assert "products.csv:3: it is not CSV" in broken.stderr
    assert "nothing was imported from line 3 on" in broken.stderr
    assert names(database) == ["A"]

    lines[2] = 'B,"b"'
    corrected = run("import", write("products.csv", *lines[:3], *lines[4:]))

    assert corrected.exit_code == 0
    assert names(database) == ["A", "B", "C", "D"]


def test_only_the_first_bad_lines_are_shown_and_the_others_counted(database, run, write):
    done = run("import", write("products.csv", "name,description", *["?"] * 62))

    lines = done.stderr.splitlines()
    assert done.exit_code == 1
    assert len(lines) == 51
    assert lines[49].endswith("products.csv:51: it has 1 fields, not 2")
    assert lines[50] == "and 12 more: --rejects writes all of them to a file"


def test_all_bad_lines_can_be_written_to_a_file(database, run, write, tmp_path):
    path = write("products.csv", "name,description", *["?"] * 62)

    done = run("import", path, "--rejects", str(tmp_path / "rejects.txt"))

    assert (done.exit_code, done.stderr) == (1, "")
    expected = [f"{path}:{number}: it has 1 fields, not 2" for number in range(2, 64)]
    assert (tmp_path / "rejects.txt").read_text().splitlines() == expected


def test_the_file_itself_is_not_written_over_by_what_is_wrong_with_it(database, run, write):
    path = write("products.csv", "name,description", "A,b")

    assert run("import", path, "--rejects", path).exit_code == 2
    assert run("import", path).exit_code == 0


@pytest.mark.parametrize("name", ["missing.csv", ""])
def test_a_file_that_cannot_be_read_is_one_line(database, run, tmp_path, name):
    done = run("import", str(tmp_path / name))

    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_existing_products_are_left_alone_and_counted(database, run, write):
    make_product(database, "Lamp", "Shines")
    make_product(database, "Kettle", "Boils water")
    before = catalogue(database)

    done = run("import", write("products.csv", "name,description", "Lamp,Shines", "Kettle,Whistles", "New,"))

    assert done.exit_code == 0
    assert done.stdout == (
        "import: 1 products created, 2 existed already "
        "(1 of them with other values: --update takes the file's), 0 changed, 0 invalid lines\n"
    )
    assert catalogue(database)[:2] == before
    assert len(catalogue(database)) == 3


def test_descriptions_can_be_changed_as_an_editor_would(database, run, write):
    same = make_product(database, "Lamp", "Shines")
    other = make_product(database, "Kettle", "Boils water", registration="failed", failures=3)
    before = datetime.now(UTC)

    done = run("import", "--update", write("products.csv", "name,description", "Kettle,Whistles", "Lamp,Shines"))

    assert done.stdout == "import: 0 products created, 1 existed already, 1 changed, 0 invalid lines\n"
    lamp, kettle = rows(database, Product, id=same)[0], rows(database, Product, id=other)[0]
    assert (lamp.version, lamp.updated_at) == (1, LONG_AGO)
    assert (kettle.description, kettle.version) == ("Whistles", 2)
    assert kettle.updated_at >= before
    assert sync_row(database, other).registration == "pending"


@pytest.mark.parametrize("options", [[], ["--update"]])
def test_names_and_ids_that_contradict_the_catalogue_are_reported_by_line(database, run, write, options):
    lamp, kettle = make_product(database, "Lamp"), make_product(database, "Kettle")
    before = catalogue(database)
    lines = [
        f"{lamp},Lamp,Boils water",
        f"{uuid4()},Lamp,x",
        f"{lamp},Torch,x",
        f"{lamp},Kettle,x",
        f"{ID},A,",
        f"{ID},B,",
    ]
    path = write("products.csv", "id,name,description", *lines)

    done = run("import", path, *options)

    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{path}:3: line 2 has the same name",
        f"{path}:4: the product 'Lamp' has this id",
        f"{path}:5: the product with this name has the id {kettle}",
        f"{path}:7: the product 'A' has this id",
    ]
    assert [row for row in catalogue(database) if row[0] != ID] == before
    assert names(database).count("A") == 1


def test_a_duplicate_name_is_reported_however_far_apart_the_lines_are(database, run, write, monkeypatch):
    monkeypatch.setattr(import_run, "UPDATES_PER_BATCH", 3)
    monkeypatch.setattr(import_run, "BATCHES_PER_CHECKPOINT", 2)
    make_product(database, "5")
    lines = [f"{number},first" for number in range(20)]
    path = write("products.csv", "name,description", *lines, "0,x", "5,x", "19,x", "20,first")

    done = run("import", "--update", path)

    assert done.stderr.splitlines() == [
        f"{path}:{line}: line {first} has the same name" for line, first in [(22, 2), (23, 7), (24, 21)]
    ]
    assert {row.description for row in rows(database, Product)} == {"first"}


def test_others_may_write_while_lines_are_read_and_checked(database, run, write, monkeypatch):
    monkeypatch.setattr(import_run, "RECORDS_PER_BATCH", 2)
    checked: list[UUID] = []

    def meanwhile(*arguments):
        checked.append(make_product(database, f"Meanwhile {len(checked)}"))
        return new_product(*arguments)

    monkeypatch.setattr(import_run, "new_product", meanwhile)

    done = run("import", write("products.csv", "name,description", *[f"{number},x" for number in range(5)]))

    assert done.exit_code == 0
    assert len(checked) == 5
    assert len(names(database)) == 10


def test_a_product_that_is_removed_meanwhile_is_reported(database, run, write, monkeypatch):
    product_id = make_product(database, "Lamp", "old")

    def removed(session, batch):
        found = existing_matches(session, batch)
        remove(session, product_id, LONG_AGO)
        return found

    monkeypatch.setattr(import_export, "existing_matches", removed)

    done = run("import", "--update", write("products.csv", "name,description", "Lamp,new"))

    assert done.exit_code == 1
    assert "products.csv:2: the product was removed during the import" in done.stderr


def valid(values):
    values, faults = validate(NEW_PRODUCT, {"name": values[0], "description": values[1]})
    return None if faults else (values["name"], values["description"])


CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("=+-@\"',;\t\r\n\\💡👩‍🚀שלא"))
PRODUCTS = st.lists(
    st.tuples(st.text(CHARACTERS, min_size=1, max_size=20), st.text(CHARACTERS, max_size=50)).map(valid).filter(bool),
    unique_by=lambda product: product[0],
    max_size=20,
)


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(products=PRODUCTS, form=st.sampled_from(["csv", "ndjson"]), data=st.data())
def test_what_is_exported_is_the_same_catalogue_where_it_is_imported(database, run, products, form, data):
    database.empty()
    times = st.datetimes(datetime(1970, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    new = []
    for name, description in products:
        created_at, updated_at = sorted([data.draw(times), data.draw(times)])
        new.append(NewProduct(name, description, data.draw(st.uuids()), created_at, updated_at))
    with database.sessions.begin() as session:
        create_many(session, new, LONG_AGO)
    exported = run("export", "--format", form).stdout_bytes
    before = catalogue(database)

    database.empty()
    imported = run("import", "-", "--format", form, typed=exported)

    assert (imported.exit_code, imported.stderr) == (0, "")
    assert catalogue(database) == before
    assert len(rows(database, ProductSource)) == len(rows(database, ProductSummary)) == len(products)
    assert run("export", "--format", form).stdout_bytes == exported
    again = run("import", "-", "--format", form, "--update", typed=exported)
    assert again.stdout == f"import: 0 products created, {len(products)} existed already, 0 changed, 0 invalid lines\n"


@pytest.mark.processes
@only_sqlite
def test_on_a_terminal_the_progress_is_shown_and_bad_lines_stand_above_it(database, write, on_a_terminal):
    path = write("products.csv", "name,description", *[f"{number},x" for number in range(30)], "?")

    code, output, shown = on_a_terminal("productagg", "import", "development.ini", path, env=environment(database))

    assert (code, output) == (1, "import: 30 products created, 0 existed already, 0 changed, 1 invalid lines\n")
    assert "32/32" in shown
    assert "lines/s" in shown
    [line] = [line for line in shown.split("\n") if "fields" in line]
    # What is before it in its row is the bar, wiped out.
    assert line.rpartition("\r")[0].rpartition("\r")[2] == f"{path}:32: it has 1 fields, not 2"


@pytest.mark.slow
@pytest.mark.parametrize("line", ["{number},x", "?"], ids=["good", "bad"])
def test_the_memory_of_an_import_does_not_grow_with_the_file(database, run, write, monkeypatch, line):
    monkeypatch.setattr(import_run, "RECORDS_PER_BATCH", 100)
    monkeypatch.setattr(import_run, "BATCHES_PER_CHECKPOINT", 5)

    def peak(count):
        lines = (line.format(number=f"{count} {number}") for number in range(count))
        path = write(f"{count}.csv", "name,description", *lines)
        tracemalloc.start()
        try:
            assert run("import", path).exit_code == (line == "?")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)
    assert peak(5000) < 1.5 * peak(1001)
