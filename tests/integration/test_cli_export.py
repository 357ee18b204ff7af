"""`productagg export`: what it writes, where to, and when there is a file."""

import json
import os
import signal
import tracemalloc

import pytest

from productagg.catalog import import_export, products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.db.engines import snapshot
from tests.databases import only_sqlite
from tests.factories import LONG_AGO, environment, make_product, make_products

HEADER = "id,name,description,created_at,updated_at,gtin,brand,category,image_url\r\n"


def test_an_export_is_csv_on_standard_output_in_the_order_of_ids(database, run):
    lamp, kettle = make_product(database, "Lamp, brass", 'Says "hello"\nand\rmore'), make_product(database, "=1+1", "")

    done = run("export")

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout_bytes.decode() == (
        f'{HEADER}{lamp},"Lamp, brass","Says ""hello""\nand\rmore",2020-01-01T00:00:00Z,2020-01-01T00:00:00Z,,,,\r\n'
        f"{kettle},=1+1,,2020-01-01T00:00:00Z,2020-01-01T00:00:00Z,,,,\r\n"
    )


def test_an_export_may_be_ndjson(database, run):
    lamp = make_product(database, "Lamp", "Shines")

    done = run("export", "--format", "ndjson")

    assert json.loads(done.stdout) == {
        "id": str(lamp),
        "name": "Lamp",
        "description": "Shines",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        **dict.fromkeys(("gtin", "brand", "category", "image_url")),
    }


@pytest.mark.parametrize(("form", "expected"), [("csv", HEADER), ("ndjson", "")])
def test_an_empty_catalogue_is_no_records(database, run, form, expected):
    assert run("export", "-", "--format", form).stdout_bytes.decode() == expected


@pytest.mark.parametrize(("name", "beginning"), [("products.csv", "id,name"), ("products.jsonl", '{"id":')])
def test_an_export_goes_to_a_file_whose_ending_says_the_format(database, run, tmp_path, name, beginning):
    make_products(database, 3)
    path = tmp_path / name

    done = run("export", str(path))

    assert (done.exit_code, done.output) == (0, "")
    assert path.read_text().startswith(beginning)
    assert [*tmp_path.glob("*.*")] == [path]


def test_an_export_that_breaks_off_leaves_the_file_as_it_was(database, run, tmp_path, monkeypatch):
    make_product(database)
    path = tmp_path / "products.csv"
    path.write_text("what was there")
    monkeypatch.setattr(import_export, "serialize", lambda *_: 1 / 0)

    done = run("export", str(path))

    assert isinstance(done.exception, ZeroDivisionError)
    assert path.read_text() == "what was there"
    assert [each for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


def test_an_export_that_is_terminated_leaves_nothing(database, run, tmp_path, monkeypatch):
    make_product(database)
    monkeypatch.setattr(import_export, "serialize", lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    done = run("export", str(tmp_path / "products.csv"))

    assert (done.exit_code, done.stderr) == (2, "Error: interrupted; the export is incomplete\n")
    assert [each for each in tmp_path.iterdir() if "products" in each.name] == []


def test_nothing_takes_the_place_of_a_device(database, run, tmp_path):
    link = tmp_path / "null"
    link.symlink_to("/dev/null")

    assert run("export", str(link)).exit_code == 0
    assert link.is_symlink() and link.is_char_device()


def test_a_file_that_cannot_be_written_is_one_line(database, run, tmp_path):
    done = run("export", str(tmp_path / "missing" / "products.csv"))

    assert done.exit_code == 2
    assert done.stderr.endswith("products.csv: No such file or directory\n")


def test_what_changes_meanwhile_is_not_exported(database):
    with database.sessions.begin() as session:
        create_many(session, [NewProduct(f"Kettle {number}", "") for number in range(3000)], LONG_AGO)

    with database.reader.connect() as connection, snapshot(connection):
        found = products.all_products(connection)
        first = next(found)
        with database.sessions.begin() as session:
            products.remove(session, first.id, LONG_AGO)
            products.create(session, "Later", "", LONG_AGO)
        assert sum(1 for _ in found) == 2999
        assert products.count(connection) == 3000


@pytest.mark.processes
@only_sqlite
def test_on_a_terminal_an_export_to_a_file_shows_its_progress(database, tmp_path, on_a_terminal):
    make_products(database, 30)
    command = ["productagg", "export", "development.ini", str(tmp_path / "products.csv")]

    code, output, shown = on_a_terminal(*command, env=environment(database))

    assert (code, output) == (0, "")
    assert "30/30" in shown
    assert "products/s" in shown


@pytest.mark.slow
def test_the_memory_of_an_export_does_not_grow_with_the_catalogue(database):
    def peak(count):
        # A connection that has seen the tables empty would look through all of them for each new row's product.
        database.writer.dispose()
        with database.sessions.begin() as session:
            new = [NewProduct(f"{count} {number}", "x" * 200) for number in range(count)]
            create_many(session, new, LONG_AGO)
        with database.reader.connect() as connection, snapshot(connection):
            tracemalloc.start()
            try:
                assert sum(1 for _ in products.all_products(connection)) >= count
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(3_000)
    assert peak(20_000) < 1.5 * peak(1)
