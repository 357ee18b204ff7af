"""Every time parameter of the API, found in its OpenAPI document, with times at the ends of what a time can be."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.databases import only_sqlite
from tests.functional.problems import assert_problem
from tests.integration.history_writer import examples

# Clocks: an offset makes times of them.
FIRST, EPOCH, LAST = datetime.min, datetime(1970, 1, 1), datetime.max  # noqa: DTZ001, DTZ901
EDGES = [FIRST, EPOCH - timedelta(microseconds=1), EPOCH, LAST - timedelta(microseconds=999_999), LAST]
OFFSETS = ["Z", "+00:00", "-00:01", "+00:01", "+14:00", "-23:59", "+23:59"]
# An edge, or up to two days from it.
CLOCKS = st.builds(
    lambda edge, away: edge + max(FIRST - edge, min(LAST - edge, away)),
    st.sampled_from(EDGES),
    st.just(timedelta(0)) | st.timedeltas(timedelta(days=-2), timedelta(days=2)),
)
TIMES = st.builds(lambda clock, offset: clock.isoformat() + offset, CLOCKS, st.sampled_from(OFFSETS))


def fits(text):
    """Whether it is a time of the years 1970 to 9999 in UTC."""
    time = datetime.fromisoformat(text)
    offset = time.utcoffset()
    assert offset is not None
    return timedelta(0) <= time.replace(tzinfo=None) - EPOCH - offset <= LAST - EPOCH


@pytest.fixture
def parameters(client, there):
    """The names of the time parameters of each path, as the path of something that is there."""
    found = defaultdict(list)
    for path, operations in client.get("/openapi.json").json["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            if parameter.get("schema", {}).get("format") == "date-time":
                found[there(path)].append(parameter["name"])
    return found


@examples(150)
@given(data=st.data())
def test_a_time_at_the_edge_is_answered_or_refused_whatever_its_offset(send, parameters, data):
    path = data.draw(st.sampled_from(sorted(parameters)), "path")
    times = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(parameters[path], TIMES)), "times")
    separator = "&" if "?" in path else "?"

    answer = send("GET", path + separator + "&".join(f"{name}={quote(text)}" for name, text in times.items()))

    wrong = {name for name, text in times.items() if not fits(text)}
    if wrong:
        assert_problem(answer, "invalid-data")
        assert {each["parameter"] for each in answer.json["errors"]} == wrong
    else:  # in order, but perhaps not a time that can be asked for
        assert answer.status_int in (200, 422)


def test_the_time_parameters_are_those_that_are_known(parameters):
    # Of series as JSON and as CSV, of products and of offers, and trends; of whole and of partial products.
    known = Counter({"at": 1, "from": 5, "to": 5, "updated_since": 2})

    assert Counter(name for names in parameters.values() for name in names) == known


@only_sqlite
def test_a_date_of_a_condition_at_the_edge_is_compared_or_ignored(send, admin, there, subtests):
    path = there("/products/{id}")
    forms = ("Mon, 01 Jan {0} 00:00:00 GMT", "Fri, 31 Dec {0} 23:59:60 GMT", "Fri Dec 31 23:59:59 {0}")
    dates = [form.format(year) for form in forms for year in ("0000", "0001", "1969", "9999", "10000")]
    for name in ("If-Modified-Since", "If-Unmodified-Since"):
        for date in dates:
            with subtests.test(f"{name}: {date}"):
                condition = {name: date}
                assert send("GET", path, None, condition).status_int == 200
                assert send("PATCH", path, {"description": date}, {**admin, **condition}).status_int in (200, 412)
