"""`productagg history export` and `import`: their options, their files, and what they say of bad ones."""

import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from productagg.db.models import OfferPrice, ProductPrice
from productagg.history import importing
from productagg.history.exporting import export, history_snapshot
from productagg.history.row_writer import insert_rows
from tests.databases import only_sqlite
from tests.factories import environment, make_product, make_products, rows

HEADER = "product_id,offer_id,at,price,items_in_stock\n"
EXPORTED_HEADER = "product_id,offer_id,at,price,items_in_stock,currency\n"
OFFER = UUID(int=10)


@pytest.fixture
def product(database):
    return make_product(database)


@pytest.fixture
def history(database, product, run, write):
    """Two steps of one offer, imported; in between, the product was not observed."""
    path = write(
        "prices.csv",
        HEADER.strip(),
        f"{product},{OFFER},2019-03-01T12:00:00Z,{2**62},3",
        f"{product},,2019-03-02T00:00:00.000001Z,,",
        f"{product},{OFFER},2019-03-03T12:00:00Z,80,0",
    )
    assert run("history", "import", path).exit_code == 0
    return [
        f"{product},{OFFER},2019-03-01T12:00:00Z,{2**62},3,EUR",
        f"{product},,2019-03-02T00:00:00.000001Z,,,",
        f"{product},{OFFER},2019-03-03T12:00:00Z,80,0,EUR",
        f"{product},,2019-12-31T23:59:59.999999Z,,,",
    ]


def prices(database):
    return [row[1:] for row in rows(database, OfferPrice)]


def nothing_is_imported(database):
    return not rows(database, OfferPrice) and not rows(database, ProductPrice)


def test_an_export_is_csv_on_standard_output(run, history):
    done = run("history", "export")

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == EXPORTED_HEADER + "".join(f"{line}\n" for line in history)


def test_an_export_may_be_ndjson(run, product, history):
    done = run("history", "export", "--format", "ndjson")

    assert [json.loads(line) for line in done.stdout.splitlines()][:2] == [
        {
            "product_id": str(product),
            "offer_id": str(OFFER),
            "at": "2019-03-01T12:00:00Z",
            "price": 2**62,
            "items_in_stock": 3,
            "currency": "EUR",
        },
        {
            "product_id": str(product),
            "offer_id": None,
            "at": "2019-03-02T00:00:00.000001Z",
            "price": None,
            "items_in_stock": None,
            "currency": None,
        },
    ]


@pytest.mark.parametrize(
    ("name", "options", "beginning"),
    [
        ("prices.csv", [], "product_id,"),
        ("prices.ndjson", [], "{"),
        ("prices.JSONL", [], "{"),
        ("prices", [], "product_id,"),
        ("prices.csv", ["--format", "ndjson"], "{"),
        ("prices.ndjson", ["--format", "csv"], "product_id,"),
    ],
)
def test_an_export_goes_to_a_file_whose_ending_says_the_format(run, history, tmp_path, name, options, beginning):
    path = tmp_path / name

    done = run("history", "export", "--output", str(path), *options)

    assert (done.exit_code, done.output) == (0, "")
    assert path.read_text().startswith(beginning)
    assert len(path.read_text().splitlines()) == 4 + (beginning != "{")
    assert path in tmp_path.iterdir()


def test_an_export_that_breaks_off_leaves_the_file_as_it_was(database, run, history, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("what was there")

    done = run("history", "export", "--output", str(path), DATABASE_URL=f"{database.url}-is-not-there")
    unknown = run("history", "export", "--output", str(path), "--product", str(uuid4()))

    assert (done.exit_code, unknown.exit_code) == (2, 2)
    assert path.read_text() == "what was there"
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_that_cannot_be_written_is_one_line(run, history, tmp_path):
    done = run("history", "export", "--output", str(tmp_path / "missing" / "prices.csv"))

    assert done.exit_code == 2
    assert done.stderr.endswith("prices.csv: No such file or directory\n")


def test_chosen_products_and_times_are_exported_and_no_others(database, run, write, product, history):
    other = make_product(database, "Toaster")
    run("history", "import", write("other.csv", HEADER.strip(), f"{other},{OFFER},2019-03-01T12:00:00Z,1,1"))

    done = run(
        "history",
        "export",
        "--product",
        str(product),
        "--from",
        "2019-03-02T12:00:00+02:00",
        "--to",
        "2019-03-04T00:00:00Z",
    )

    assert done.stdout == EXPORTED_HEADER + "".join(
        f"{product},{line}\n"
        for line in [
            f"{OFFER},2019-03-02T10:00:00Z,{2**62},3,EUR",
            ",2019-03-02T10:00:00Z,,,",
            f"{OFFER},2019-03-03T12:00:00Z,80,0,EUR",
            ",2019-03-04T00:00:00Z,,,",
        ]
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--from", "2019-03-01T00:00:00"], "'2019-03-01T00:00:00' has no time zone"),
        (["--to", "yesterday"], "'yesterday' is not a time"),
        (["--from", "2019-03-02T00:00:00Z", "--to", "2019-03-02T00:00:00Z"], "--from must be before --to"),
        (["--product", "1"], "'1' is not a valid UUID"),
        (["--product", str(OFFER)], f"there is no product {OFFER}"),
        (["--format", "xml"], "'xml' is not one of"),
    ],
)
def test_an_option_that_will_not_do_is_explained_and_nothing_is_exported(database, run, options, reason):
    done = run("history", "export", *options)

    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr


def test_the_help_says_that_only_what_is_kept_raw_is_exported(run):
    assert "HISTORY_RAW_DAYS" in run("history", "export", "--help").output


@pytest.mark.parametrize(("name", "options"), [("prices.csv", []), ("prices.txt", ["--format", "ndjson"])])
def test_an_import_says_what_it_did(database, run, write, product, name, options):
    lines = [HEADER.strip(), f"{product},{OFFER},2019-03-01T12:00:00Z,{2**63 - 1},3"]
    if options:
        values = {"product_id": str(product), "offer_id": str(OFFER), "price": 2**63 - 1, "items_in_stock": 3}
        lines = [json.dumps({**values, "at": "2019-03-01T12:00:00Z"})]

    done = run("history", "import", write(name, *lines), *options)

    assert (done.exit_code, done.output) == (0, "import: 1 lines of 1 products imported\n")
    assert prices(database)[0] == (OFFER, datetime(2019, 3, 1, 12, tzinfo=UTC), 2**63 - 1, 3)


def test_an_import_may_come_from_standard_input(database, run, product):
    done = run("history", "import", "-", typed=f"{HEADER}{product},{OFFER},2019-03-01T12:00:00Z,1,1\n")

    assert done.exit_code == 0
    assert len(prices(database)) == 2


def test_what_was_exported_can_be_imported(database, run, product, history):
    exported = run("history", "export").stdout
    before = prices(database)

    again = run("history", "import", "-", "--replace", typed=exported)

    assert again.exit_code == 0
    assert prices(database) == before
    assert run("history", "export").stdout == exported


def test_all_bad_lines_are_reported_with_their_numbers_and_nothing_is_imported(database, run, write, product):
    unknown = uuid4()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    path = write(
        "prices.csv",
        HEADER.strip(),
        f"{product},{OFFER},2019-03-01T12:00:00Z,1,1",
        f"{unknown},{OFFER},2019-03-01T12:00:00Z,1,1",
        f"{product},offer,2019-03-01T12:00:00Z,1,1",
        f"{product},{OFFER},2019-03-01T12:00:00,1,1",
        f"{product},{OFFER},{tomorrow:%Y-%m-%dT00:00:00Z},1,1",
        f"{product},{OFFER},2020-01-01T00:00:00Z,1,1",
        f"{product},{OFFER},2019-03-01T13:00:00+01:00,2,2",
        f"{product},,2019-03-01T12:00:00Z,,",
        f"{product},,2019-03-01T12:00:00Z,,0",
        f"{product},{OFFER},2019-03-02T12:00:00Z,-1,1",
        f"{product},{OFFER},2019-03-02T12:00:00Z,1",
    )

    done = run("history", "import", path)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{path}:3: there is no product {unknown}",
        f"{path}:4: offer_id 'offer' is not a UUID",
        f"{path}:5: '2019-03-01T12:00:00' has no time zone, like the Z of 2026-01-31T12:00:00Z",
        f"{path}:6: {tomorrow:%Y-%m-%dT00:00:00Z} is in the future",
        f"{path}:7: 2020-01-01T00:00:00Z is not before 2020-01-01T00:00:00Z, the day the product was created",
        f"{path}:8: line 2 has the same offer and time",
        f"{path}:10: line 9 has the same offer and time",
        f"{path}:11: price '-1' is not a whole number from 0 to 9223372036854775807",
        f"{path}:12: it has 4 fields, not 5",
        "Error: nothing was imported",
    ]
    assert nothing_is_imported(database)


def test_at_most_fifty_bad_lines_are_shown_and_the_others_counted(database, run, write, product):
    done = run("history", "import", write("prices.csv", HEADER.strip(), *["?"] * 62))

    lines = done.stderr.splitlines()
    assert done.exit_code == 2
    assert len(lines) == 52
    assert lines[49].endswith("prices.csv:51: it has 1 fields, not 5")
    assert lines[50] == "and 12 more"


@pytest.mark.parametrize("content", ["", "\n\n", HEADER], ids=["nothing", "empty lines", "only a header"])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_file_without_lines_is_refused(database, run, content, form):
    if form == "ndjson":
        content = content.strip(HEADER)

    done = run("history", "import", "-", "--format", form, typed=content)

    assert done.exit_code == 2
    assert done.stderr == "-:1: there are no lines in the file\nError: nothing was imported\n"


def test_a_file_that_is_not_text_is_refused(database, run, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_bytes(b"\xff\xfe\x00" * 100_000)

    done = run("history", "import", str(path))

    assert done.exit_code == 2
    assert "prices.csv:1: it is longer than 10000 bytes" in done.stderr


@pytest.mark.parametrize(("name", "reason"), [("missing.csv", "No such file or directory"), ("", "is a directory")])
def test_a_file_that_cannot_be_read_is_one_line(database, run, tmp_path, name, reason):
    done = run("history", "import", str(tmp_path / name))

    assert done.exit_code == 2
    assert reason in done.stderr
    assert "Traceback" not in done.output


def test_an_import_over_another_one_is_refused_unless_it_is_to_replace_it(database, run, write, product, history):
    before = prices(database)
    path = write("new.csv", HEADER.strip(), f"{product},{OFFER},2018-01-01T00:00:00Z,5,1")

    refused = run("history", "import", path)

    assert refused.exit_code == 2
    assert refused.stderr == (
        f"Error: product {product} already has imported history; --replace replaces it; nothing was imported\n"
    )
    assert prices(database) == before

    assert run("history", "import", path, "--replace").exit_code == 0
    assert [price for _, _, price, _ in prices(database)] == [5, 5]


def test_an_import_that_is_interrupted_leaves_nothing(database, run, write, monkeypatch):
    monkeypatch.setattr(importing, "ROWS_PER_INSERT", 1)
    product_ids = make_products(database, 3)
    lines = [f"{product_id},{OFFER},2019-03-01T12:00:00Z,1,1" for product_id in product_ids]
    written = []

    def interrupt(*arguments):
        written.append(arguments)
        if len(written) == 2:
            raise KeyboardInterrupt
        insert_rows(*arguments)

    monkeypatch.setattr(importing, "insert_rows", interrupt)

    done = run("history", "import", write("prices.csv", HEADER.strip(), *lines))

    assert done.exit_code == 1
    assert len(written) == 2
    assert nothing_is_imported(database)


@pytest.mark.processes
@only_sqlite
def test_on_a_terminal_an_import_shows_its_progress(database, product, write, on_a_terminal):
    path = write("prices.csv", HEADER.strip(), f"{product},{OFFER},2019-03-01T12:00:00Z,1,1")

    command = ["productagg", "history", "import", "development.ini", path]
    code, output, shown = on_a_terminal(*command, env=environment(database))

    assert (code, output) == (0, "import: 1 lines of 1 products imported\n")
    assert "1/1" in shown


@pytest.mark.slow
def test_the_memory_of_an_export_does_not_grow_with_the_history(database, run, write):
    short, long = make_products(database, 2)
    begin = datetime(2019, 3, 1, tzinfo=UTC)
    lines = [
        f"{product_id},{OFFER},{begin + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ},{number},1"
        for product_id, count in ((short, 3_000), (long, 30_000))
        for number in range(count)
    ]
    assert run("history", "import", write("prices.csv", HEADER.strip(), *lines)).exit_code == 0

    def peak(product_id, at_least):
        with database.reader.connect() as connection, history_snapshot(connection):
            tracemalloc.start()
            try:
                assert sum(1 for _ in export(connection, [product_id])) > at_least
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(short, 3_000)
    assert peak(long, 30_000) < 1.5 * peak(short, 3_000)
