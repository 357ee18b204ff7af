"""Records of CSV and NDJSON: what they are, on which line they begin, and what is wrong with them."""

import csv
from io import BytesIO, StringIO

import hypothesis
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from productagg.record_reader import FileError, LineReader, RecordError, read
from tests.scale import examples

FIELDS = ("name", "description", "id")


def read_all(content, form="csv", longest=1000, after=(0, 0)):
    lines = LineReader(BytesIO(content if isinstance(content, bytes) else content.encode()), longest)
    found = read(lines, form, FIELDS, ("id",), multiline=True, after=after)
    return [(number, values if isinstance(values, dict) else str(values)) for number, values in found]


def record(name, description, **others):
    return {"name": name, "description": description, **others}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quoted_field_may_have_line_breaks_and_the_record_has_the_number_of_its_first_line(end):
    rows = ["name,description", '"A","one', "", 'three"', "B,", 'C,"say ""hello"", please"']

    assert read_all(end.join(rows)) == [
        (2, record("A", f"one{end}{end}three")),
        (5, record("B", "")),
        (6, record("C", 'say "hello", please')),
    ]


def test_a_byte_order_mark_is_passed_over():
    assert read_all("\ufeffname,description\nA,b") == [(2, record("A", "b"))]
    assert read_all('\ufeff{"name": "A", "description": "b"}', "ndjson") == [(1, record("A", "b"))]


def test_a_quote_within_an_unquoted_field_is_only_a_quote():
    assert read_all('name,description\n24" monitor,big\nB,b') == [
        (2, record('24" monitor', "big")),
        (3, record("B", "b")),
    ]


def test_columns_may_come_in_any_order_and_optional_ones_may_be_missing():
    assert read_all("id,description,name\n1,a,b") == [(2, record("b", "a", id="1"))]
    assert read_all('{"description": "a", "name": "b"}\n{"id": 1, "description": "a", "name": "b"}', "ndjson") == [
        (1, record("b", "a")),
        (2, record("b", "a", id=1)),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("A", "it has 1 fields, not 2"),
        ('"A\nand more","b",c', "it has 3 fields, not 2"),
        ('"A"b,c', "it is not CSV: ',' expected after '\"'"),
    ],
)
def test_after_a_bad_record_the_next_one_is_read(bad, reason):
    (number, found), (_, after) = read_all(f"name,description\n{bad}\nB,b\n")

    assert (number, found) == (2, reason)
    assert after == record("B", "b")


def test_a_record_that_is_not_utf_8_is_reported_and_its_end_is_found():
    content = 'name,description\nA,"ä\nB,not a product"\nC,c'.encode("latin-1")

    assert read_all(content) == [(2, "it is not UTF-8"), (4, record("C", "c"))]


@pytest.mark.parametrize(
    "bad",
    [
        '"A,b',
        '"A",b,"c',
        '"A","b\nB,not "a product"',
        '"' + "x" * 2000 + '\nB,b"',
        '"A","' + "x\n" * 600 + '"',
        "x" * 2000,
    ],
)
def test_where_it_is_unclear_where_the_next_record_begins_nothing_more_is_read(bad):
    content = f"name,description\nA,a\n{bad}\nC,c\n"
    lines = LineReader(BytesIO(content.encode()), 1000)

    first, (number, error) = read(lines, "csv", FIELDS, ("id",), multiline=True)

    assert first == (2, record("A", "a"))
    assert number == 3
    assert isinstance(error, FileError)
    assert str(error).endswith("it is unclear where the next record begins")


UNDOUBLED = '"55" TV",big'


@pytest.mark.parametrize(
    ("bad", "after"),
    [
        (UNDOUBLED, "B,b"),
        (UNDOUBLED, '"B","b"'),
        (UNDOUBLED, 'B,"b\nand more"'),
        (UNDOUBLED, '"24"" monitor",b'),
        (UNDOUBLED, '"",b\n"B",b'),
        (UNDOUBLED, '"",b'),
        (UNDOUBLED, '24" monitor,b'),
        (UNDOUBLED, "B,b\n?\nC,c,c"),
        ('TV,"55" wide"', "B,b"),
        ('TV,"the "big" one"', '\n"B","b"'),
        ('"55" TV","40" high"', "B,b"),
        (f"{UNDOUBLED}\n{UNDOUBLED}", "B,b"),
        (f"{UNDOUBLED}\nA,a\n{UNDOUBLED}", '"B","b"'),
    ],
)
def test_a_line_whose_quotes_are_not_doubled_is_one_bad_line(bad, after):
    lines = ["name,description", *bad.split("\n"), *after.split("\n")]
    wrong = [number for number, line in enumerate(lines, 1) if line in bad.split("\n") and line != "A,a"]

    found = read_all("\n".join(lines))

    # Empty lines are passed over.
    others = read_all("\n".join("" if number in wrong else line for number, line in enumerate(lines, 1)))
    assert found == sorted([*others, *((number, "it is not CSV: ',' expected after '\"'") for number in wrong)])


@pytest.mark.parametrize(
    "rest",
    [
        'A,"the 55" TV\nB,not a product\nlast"',
        'A,"the "55"\nB,not a product\nlast"',
        'A,"the "55"\nB,not a product\nlast ""line"""',
        '"55" TV","the ""big""\nB,not a product\n""C"",not a product\nD,""""\nE,e"',
        '"text "a", b\nB,not a product\nlast",x',
        'A,"the "55"\n\nB,not a product\n"',
        'A,"the "55"\nwith other words\n"B" is not a product\n"',
        '"55" TV",big\nB,b"',
    ],
)
def test_a_line_of_a_description_is_not_taken_for_a_product(rest):
    found = read_all(f"name,description\n{rest}\n")

    [(number, reason)] = found
    assert number == 2
    assert reason.endswith("it is unclear where the next record begins")


def test_however_many_lines_have_wrong_quotes_each_line_is_judged_once():
    judged = []

    class CountingReader(LineReader):
        def look_ahead(self, decide):
            def count(line):
                judged.append(line)
                return decide(line)

            return super().look_ahead(count)

    content = "name,description\n" + f"{UNDOUBLED}\n" * 500
    lines = CountingReader(BytesIO(content.encode()), 2000)

    assert len(list(read(lines, "csv", FIELDS, ("id",), multiline=True))) == 500
    assert len(judged) == 499


WORDS = st.text(st.sampled_from('ab ,"\n'), max_size=12)


ROWS = st.lists(st.tuples(WORDS, WORDS), max_size=6)


@hypothesis.settings(max_examples=examples(300))
@given(ROWS, st.text(st.sampled_from('ab ,"'), max_size=8), WORDS, ROWS)
def test_beside_a_name_whose_quotes_are_not_doubled_no_invented_record_is_read(before, name, text, after):
    """All other records are correct CSV, whatever is in them."""
    written = StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("name", "description"), *before])
    begin = written.getvalue().count("\n") + 1
    doubled = text.replace('"', '""')
    written.write(f'"{name}","{doubled}"\n')
    writer.writerows(after)

    found = read_all(written.getvalue())

    # Some are CSV by chance, with other values.
    assume(any(number == begin and "it is not CSV" in values for number, values in found))
    assert [
        values for _, values in found if isinstance(values, dict) and tuple(values.values()) not in before + after
    ] == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    ("form", "content"), [("csv", "name,description\nA,b\n"), ("ndjson", '{"name": "A", "description": "b"}\n')]
)
def test_a_file_in_another_encoding_of_unicode_is_named_for_what_it_is(encoding, form, content):
    mark = "" if encoding[-1].isdigit() else "\ufeff"

    for text in (content, mark + content):
        assert read_all(text.encode(encoding), form) == [(1, f"the file is {encoding[:6].upper()}; save it as UTF-8")]


@pytest.mark.parametrize(
    "content", ["", "\n\n", "name;description\nA;b", "name\nA", "name,name,description\n", '"name']
)
def test_without_a_proper_header_nothing_is_read(content):
    [(number, error)] = read(LineReader(BytesIO(content.encode()), 1000), "csv", FIELDS, ("id",), multiline=True)

    assert number == 1
    assert isinstance(error, FileError)


def test_a_line_of_ndjson_that_is_too_long_does_not_hide_the_next_one():
    content = f'{{"name": "{"x" * 3000}", "description": ""}}\n{{"name": "B", "description": ""}}'

    assert read_all(content, "ndjson") == [(1, "it is longer than 1000 bytes"), (2, record("B", ""))]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RECORDS = st.lists(st.tuples(TEXT.filter(str.strip), TEXT, TEXT), max_size=5)


@given(records=RECORDS, end=st.sampled_from(["\n", "\r\n"]))
def test_whatever_is_quoted_is_read_back_with_the_number_of_its_line(records, end):
    text = StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=end)
    expected = []
    for row in [FIELDS, *records]:
        expected.append((text.getvalue().count("\n") + 1, dict(zip(FIELDS, row, strict=True))))
        writer.writerow(row)

    assert read_all(text.getvalue(), longest=100_000) == expected[1:]


@given(content=st.binary(), form=st.sampled_from(["csv", "ndjson"]))
def test_whatever_the_bytes_there_are_records_and_reasons(content, form):
    for number, values in read(LineReader(BytesIO(content), 20), form, FIELDS, multiline=True):
        assert number >= 1
        assert isinstance(values, dict) or (isinstance(values, RecordError) and str(values))


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("csv", '\ufeffname,description\n"A","b\nc"\n\nB,b\n?\nC,c\n'),
        ("ndjson", '{"name": "A", "description": ""}\n\n?\n{"name": "B", "description": ""}\n'),
    ],
)
def test_reading_can_continue_after_any_record(form, content):
    lines = LineReader(BytesIO(content.encode()), 1000)
    found, positions = [], []
    for number, values in read(lines, form, FIELDS, ("id",), multiline=True):
        found.append((number, values if isinstance(values, dict) else str(values)))
        positions.append((lines.number, lines.offset, lines.digest()))

    assert len(found) == 3 + (form == "csv")
    for done, (number, offset, digest) in enumerate(positions, 1):
        assert read_all(content, form, after=(number, offset)) == found[done:]
        before = LineReader(BytesIO(content.encode()), 1000)
        before.skip_to(number, offset)
        assert (before.number, before.offset, before.digest()) == (number, offset, digest)
