"""Conditional requests (RFC 9110, 13): what a client that has seen a version, or a time, may rely on."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from uuid import UUID, uuid4

import pytest
import time_machine

from productagg.db.models import OFFERS_SOURCE, ProductSource
from tests.databases import only_sqlite
from tests.factories import make_product
from tests.functional.problems import assert_problem
from tests.functional.routes import KEPT, MOMENTARY


@pytest.fixture
def path(create):
    return f"/products/{create(name='Lamp', description='Bright')['id']}"


@pytest.fixture
def tag(client, path):
    return client.get(path).headers["ETag"]


def test_every_answer_that_is_a_product_has_a_strong_tag(client, admin):
    created = client.post_json("/products", {"name": "Lamp", "description": ""}, headers=admin)
    client.background.wait()
    path = f"/products/{created.json['id']}"

    tags = [answer.headers["ETag"] for answer in (created, client.patch_json(path, {"name": "B"}, headers=admin))]

    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
    assert client.get(path).headers["ETag"] == tags[1] != tags[0]


@only_sqlite
def test_who_has_the_current_answer_gets_304_and_no_body(client, path, tag, subtests):
    for form in ("{0}", "W/{0}", '"other", {0}', '"other",{0}', ' W/"a,b" , W/{0}', "*", " * ", '{0}, "other"'):
        with subtests.test(form):
            answer = client.get(path, headers={"If-None-Match": form.format(tag)}, status=304)

            assert answer.body == b""
            assert answer.headers["ETag"] == tag


@only_sqlite
def test_who_has_another_answer_gets_the_current_one(client, path, tag, subtests):
    unquoted = tag.strip('"')
    for known in ('"other"', "nonsense", '"1-"', "", '""', '"*"', 'W/"other"', f"unquoted: {unquoted}"):
        with subtests.test(known):
            answer = client.get(path, headers={"If-None-Match": known}, status=200)

            assert answer.headers["ETag"] == tag
            assert answer.json["name"] == "Lamp"


@only_sqlite
def test_a_range_is_ignored(client, path):
    whole = client.get(path)

    for wanted in ("bytes=0-10", "bytes=9999999-", "nonsense"):
        answer = client.get(path, headers={"Range": wanted}, status=200)
        assert answer.body == whole.body


def test_a_changed_offer_makes_another_answer(client, path, tag, sync, upstream):
    product_id = path.rpartition("/")[2]
    upstream.offer(UUID(product_id), {uuid4(): (1000, 1)})
    sync(product_id)

    answer = client.get(path, headers={"If-None-Match": tag}, status=200)

    assert answer.headers["ETag"] != tag
    assert len(answer.json["offers"]) == 1


@only_sqlite
def test_a_write_that_names_the_current_version_succeeds(client, send, admin, database, subtests):
    for form in ("{0}", "*", '"other", {0}', '"other",{0}', '{0},"9-x"', 'W/"1-x", {0}'):
        path = f"/products/{make_product(database, form)}"
        for method, body, status in (("PATCH", {"description": "Better"}, 200), ("DELETE", None, 204)):
            with subtests.test(f"{method} {form}"):
                tag = client.get(path).headers["ETag"]
                answer = send(method, path, body, {**admin, "If-Match": form.format(tag)})

                assert answer.status_int == status


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_write_that_names_no_current_version_is_refused_and_changes_nothing(
    client, send, admin, path, tag, subtests, method
):
    body = {"description": "Better"} if method == "PATCH" else None
    for given in (
        '"2-abc"',
        '"other"',
        "nonsense",
        "",
        f"W/{tag}",
        tag.strip('"'),
        '"1"',
        '"-"',
        '"x-1"',
        '"\u0661-x"'.encode().decode("latin-1"),
        '"99999999999999999999-"',
    ):
        with subtests.test(given):
            assert_problem(send(method, path, body, {**admin, "If-Match": given}), "stale-version")
    assert client.get(path).headers["ETag"] == tag


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_the_second_of_two_editors_of_one_version_is_refused(client, send, admin, path, tag, method):
    client.patch_json(path, {"description": "first"}, headers={**admin, "If-Match": tag})

    answer = send(method, path, {"description": "second"} if method == "PATCH" else None, {**admin, "If-Match": tag})

    assert_problem(answer, "stale-version")
    assert client.get(path).json["description"] == "first"


def test_a_new_price_does_not_stand_in_the_way_of_an_honest_editor(client, admin, path, tag, sync, upstream):
    product_id = path.rpartition("/")[2]
    upstream.offer(UUID(product_id), {uuid4(): (1000, 1)})
    sync(product_id)
    assert client.get(path).headers["ETag"] != tag

    client.patch_json(path, {"description": "Better"}, headers={**admin, "If-Match": tag}, status=200)


def test_the_tag_of_a_change_is_good_for_the_next_one(client, admin, path, tag):
    for description in ("one", "two", "three"):
        answer = client.patch_json(path, {"description": description}, headers={**admin, "If-Match": tag}, status=200)
        tag = answer.headers["ETag"]

    assert client.get(path).headers["ETag"] == tag


def test_what_is_not_there_is_not_found_whatever_version_is_named(send, admin):
    answer = send("DELETE", f"/products/{uuid4()}", None, {**admin, "If-Match": '"1-x"'})

    assert_problem(answer, "product-not-found")


@only_sqlite
def test_everything_that_is_read_has_a_strong_tag_and_a_304(client, there, admin, subtests):
    for path in KEPT:
        with subtests.test(path):
            check_tag(client, there(path), admin)


def check_tag(client, where, admin):
    # Some answers say up to when they are good.
    with time_machine.travel(datetime.now(UTC), tick=False):
        whole = client.get(where, headers=admin)
        tag = whole.headers["ETag"]
        answers = [client.get(where, headers={**admin, "If-None-Match": known}) for known in (tag, "*", f'"x",W/{tag}')]
        other = client.get(where, headers={**admin, "If-None-Match": '"other"'})

    assert tag.startswith('"') and tag.endswith('"') and len(tag) > 2
    for answer in answers:
        assert (answer.status_int, answer.body) == (304, b"")
        # What a 304 has to carry, and what it should not (15.4.5).
        assert {name: answer.headers.get(name) for name in ("ETag", "Cache-Control", "Vary")} == {
            name: whole.headers.get(name) for name in ("ETag", "Cache-Control", "Vary")
        }
        about_a_body = {name for name in answer.headers if name.startswith("Content-")} - {"Content-Security-Policy"}
        assert about_a_body == set()
        assert "Last-Modified" not in answer.headers
    assert (other.status_int, other.body) == (200, whole.body)


@only_sqlite
def test_a_304_is_logged_as_one(client, path, tag, caplog):
    with caplog.at_level("INFO", "productagg.access"):
        client.get(path, headers={"If-None-Match": tag}, status=304)

    assert f"GET {path} 304 " in caplog.text


def test_another_page_to_follow_is_another_answer(client, create):
    """Though its body is the same, its Link and its Total-Count are not."""
    create(name="one")
    alone = client.get("/products?limit=1")
    create(name="two")

    answer = client.get("/products?limit=1", headers={"If-None-Match": alone.headers["ETag"]}, status=200)

    assert "Link" in answer.headers
    assert answer.headers["ETag"] != alone.headers["ETag"]


@only_sqlite
def test_what_is_read_only_if_it_is_what_one_has(send, there, admin, subtests):
    for path in KEPT:
        with subtests.test(path):
            check_if_match(send, there(path), admin)


def check_if_match(send, where, admin):
    with time_machine.travel(datetime.now(UTC), tick=False):
        tag = send("GET", where, None, admin).headers["ETag"]
        for wanted, status in (("*", 200), (tag, 200), (f'"x",{tag}', 200), (f"W/{tag}", 412), ('"x"', 412), ("", 412)):
            for method in ("GET", "HEAD"):
                answer = send(method, where, None, {**admin, "If-Match": wanted})

                assert answer.status_int == status
        assert_problem(send("GET", where, None, {**admin, "If-Match": '"x"'}), "precondition-failed")


@only_sqlite
def test_if_match_is_looked_at_before_if_none_match(send, path, tag):
    assert_problem(send("GET", path, None, {"If-Match": '"x"', "If-None-Match": tag}), "precondition-failed")
    assert send("GET", path, None, {"If-Match": tag, "If-None-Match": tag}).status_int == 304


@only_sqlite
@pytest.mark.parametrize("path", sorted(MOMENTARY - {"/"}))
def test_what_has_no_tag_is_there_and_is_not_the_one_that_is_named(send, path):
    assert send("GET", path, None, {"If-Match": "*"}).status_int == 200
    assert_problem(send("GET", path, None, {"If-Match": '"x"'}), "precondition-failed")


@only_sqlite
def test_what_is_no_success_is_not_made_one_or_another_by_conditions(send, admin, path):
    """13.2.1: they are ignored where the answer without them would not be a success."""
    conditions = {
        "If-Match": '"x"',
        "If-None-Match": "*",
        "If-Unmodified-Since": http_date(datetime(2000, 1, 1, tzinfo=UTC)),
    }
    for request, code in (
        (("GET", "/nowhere", None, {}), "not-found"),
        (("GET", f"/products/{uuid4()}", None, {}), "product-not-found"),
        (("GET", "/products?limit=x", None, {}), "invalid-data"),
        (("GET", "/sync-runs", None, {}), "authentication-required"),
        (("PATCH", path, {"name": "x"}, {}), "authentication-required"),
        (("PATCH", path, {"name": ""}, admin), "invalid-data"),
        (("PATCH", f"{path}?x=y", {"name": "x"}, admin), "invalid-data"),
        (("PATCH", path, b"<name/>", {**admin, "Content-Type": "text/xml"}), "unsupported-media-type"),
        (("PATCH", f"/products/{uuid4()}", {"name": "x"}, admin), "product-not-found"),
        (("DELETE", "/products/1", None, admin), "product-not-found"),
    ):
        method, where, body, headers = request
        assert_problem(send(method, where, body, {**headers, **conditions}), code)
    assert send("GET", "/", None, conditions).status_int == 302


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_write_on_condition_that_nothing_is_there_is_refused(client, send, admin, path, tag, method):
    body = {"description": "Better"} if method == "PATCH" else None
    for known in ("*", tag, f"W/{tag}", f'"9-x",{tag}', '"1-anything"'):
        assert_problem(send(method, path, body, {**admin, "If-None-Match": known}), "precondition-failed")
        # If-Match is looked at first, and is not enough.
        assert_problem(
            send(method, path, body, {**admin, "If-Match": tag, "If-None-Match": known}), "precondition-failed"
        )
    assert client.get(path).headers["ETag"] == tag


@only_sqlite
def test_a_write_on_condition_that_something_else_is_there_succeeds(send, admin, database, subtests):
    for known in ('"9-x"', '"other"', "nonsense", "", '"1"', 'W/"2-x"'):
        for method, body, status in (("PATCH", {"description": "Better"}, 200), ("DELETE", None, 204)):
            path = f"/products/{make_product(database, f'{method} {known}')}"
            with subtests.test(f"{method} {known}"):
                assert send(method, path, body, {**admin, "If-None-Match": known}).status_int == status


@only_sqlite
def test_a_creation_is_not_about_what_is_there(send, admin, path):
    """13.2.1: POST neither selects nor changes a representation of /products; a name that exists is a 409."""
    for number, headers in enumerate(({"If-None-Match": "*"}, {"If-Match": '"x"'}, {"If-Unmodified-Since": EARLY})):
        body = {"name": f"New {number}", "description": ""}
        assert send("POST", "/products", body, {**admin, **headers}).status_int == 201


def http_date(time):
    return format_datetime(time, usegmt=True)


EARLY = http_date(datetime(2000, 1, 1, tzinfo=UTC))
LATE = http_date(datetime(2099, 1, 1, tzinfo=UTC))
NOT_DATES = [
    "",
    "nonsense",
    "0",
    "2099-01-01T00:00:00Z",
    "Thu, 01 Jan 2099 00:00:00 +0000",
    "Thu, 01 Jan 2099 00:00:00",
    "Thu, 32 Jan 2099 00:00:00 GMT",
    f"{LATE}, {LATE}",
    "99999999999999999999",
]


@pytest.fixture
def clock():
    """The time stands still, in the middle of a second, unless the test moves it."""
    with time_machine.travel(datetime.now(UTC).replace(microsecond=400_000), tick=False) as clock:
        yield clock


@pytest.fixture
def modified(clock, path, client):
    """The Last-Modified of the product, once some time has gone by."""
    clock.shift(10)
    return client.get(path).headers["Last-Modified"]


class TestLastModified:
    @pytest.mark.parametrize(
        "change",
        ["edited", "synced", "offered", "registered", "refused"],
    )
    def test_it_is_the_newest_of_all_that_the_answer_shows(
        self, client, admin, clock, path, modified, sync, upstream, change
    ):
        clock.shift(100)
        product_id = UUID(path.rpartition("/")[2])
        if change == "edited":
            client.patch_json(path, {"description": "Better"}, headers=admin)
        elif change == "offered":
            upstream.offer(product_id, {uuid4(): (1000, 1)})
            sync(str(product_id))
        elif change == "synced":
            sync(str(product_id))
        else:
            with client.services.sessions.begin() as session:
                row = session.get_one(ProductSource, (product_id, OFFERS_SOURCE))
                if change == "registered":
                    row.registered_at = datetime.now(UTC)
                else:
                    row.last_asked_at, row.registration = datetime.now(UTC), "failed"
        changed_at = datetime.now(UTC)
        clock.shift(10)

        found = parsedate_to_datetime(client.get(path).headers["Last-Modified"])

        assert found > parsedate_to_datetime(modified)
        # To the second, and not before it.
        assert timedelta(0) <= found - changed_at < timedelta(seconds=1)

    @only_sqlite
    def test_head_has_it_and_an_admins_answer_which_is_of_the_moment_has_not(self, client, path, modified, admin):
        assert client.head(path).headers["Last-Modified"] == modified
        assert "Last-Modified" not in client.get(path, headers=admin).headers

    def test_who_has_what_is_of_that_time_gets_a_304(self, client, path, modified, clock):
        for since in (modified, LATE):
            answer = client.get(path, headers={"If-Modified-Since": since}, status=304)
            assert answer.body == b""
        second_before = parsedate_to_datetime(modified) - timedelta(seconds=1)
        assert client.get(path, headers={"If-Modified-Since": http_date(second_before)}).status_int == 200

    @only_sqlite
    @pytest.mark.parametrize("form", ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"])
    def test_the_forms_of_old_clients_are_understood(self, client, path, modified, form):
        known = parsedate_to_datetime(modified)

        client.get(path, headers={"If-Modified-Since": known.strftime(form)}, status=304)
        client.get(path, headers={"If-Modified-Since": (known - timedelta(days=1)).strftime(form)}, status=200)

    @only_sqlite
    def test_what_is_not_a_date_is_ignored(self, client, send, admin, path, modified, subtests):
        for since in NOT_DATES:
            with subtests.test(since):
                client.get(path, headers={"If-Modified-Since": since}, status=200)
                client.get(path, headers={"If-Unmodified-Since": since}, status=200)
        for since in NOT_DATES:
            with subtests.test(f"PATCH {since}"):
                headers = {**admin, "If-Unmodified-Since": since}
                assert send("PATCH", path, {"description": f"Not {since}"}, headers).status_int == 200

    @only_sqlite
    def test_beside_a_tag_it_is_not_looked_at(self, client, path, tag, modified):
        other, same = {"If-None-Match": '"other"'}, {"If-None-Match": client.get(path).headers["ETag"]}

        client.get(path, headers={**other, "If-Modified-Since": modified}, status=200)
        client.get(path, headers={**same, "If-Modified-Since": EARLY}, status=304)
        client.get(path, headers={"If-Match": same["If-None-Match"], "If-Unmodified-Since": EARLY}, status=200)

    def test_it_may_be_read_only_if_not_modified_since(self, send, path, modified):
        for since, status in ((modified, 200), (LATE, 200), (EARLY, 412)):
            assert send("GET", path, None, {"If-Unmodified-Since": since}).status_int == status
        # Before If-None-Match is looked at.
        both = {"If-Unmodified-Since": EARLY, "If-None-Match": "*"}
        assert_problem(send("GET", path, None, both), "precondition-failed")

    def test_where_no_date_is_known_dates_mean_nothing(self, client):
        for header in ("If-Modified-Since", "If-Unmodified-Since"):
            for since in (EARLY, LATE):
                client.get("/products", headers={header: since}, status=200)

    @pytest.mark.parametrize("step", [0.0, 0.1, 0.4])  # the last one is within the next second
    def test_a_second_change_in_the_same_second_is_not_hidden(self, client, admin, clock, path, modified, step):
        """Last-Modified knows no fractions of a second."""
        clock.shift(100)
        client.patch_json(path, {"description": "first"}, headers=admin)
        read, read_at = client.get(path), datetime.now(UTC)
        clock.shift(step)
        client.patch_json(path, {"description": "second"}, headers=admin)

        # Whatever time the client takes for that of what it has, it gets the second one, however long it waits.
        for known in {read.headers.get("Last-Modified"), http_date(read_at)} - {None}:
            for wait in (0, 0.3, 1, 5):
                clock.shift(wait)
                again = client.get(path, headers={"If-Modified-Since": known}, status=200)
                assert again.json["description"] == "second"

    @only_sqlite
    def test_last_modified_is_sent_only_well_after_its_second(self, client, admin, clock, path, modified, subtests):
        start = datetime.now(UTC)
        for number, milliseconds in enumerate(range(0, 3200, 200), 1):
            with subtests.test(milliseconds):
                changed_at = start + number * timedelta(seconds=10)
                clock.move_to(changed_at)
                client.patch_json(path, {"description": f"Better {number}"}, headers=admin)
                clock.shift(milliseconds / 1000)

                found = client.get(path).headers.get("Last-Modified")

                if found is not None:
                    assert datetime.now(UTC) - parsedate_to_datetime(found) >= timedelta(seconds=1)
                    assert parsedate_to_datetime(found) >= changed_at
                assert (found is not None) == (milliseconds >= 2600)


class TestIfUnmodifiedSince:
    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_who_saw_it_before_another_edit_is_refused(self, client, send, admin, clock, path, modified, method):
        clock.shift(1)
        client.patch_json(path, {"description": "first"}, headers=admin)
        body = {"description": "second"} if method == "PATCH" else None

        for since in (modified, EARLY, http_date(datetime.now(UTC))):  # that second is not over
            assert_problem(send(method, path, body, {**admin, "If-Unmodified-Since": since}), "stale-version")
        assert client.get(path).json["description"] == "first"

    @pytest.mark.parametrize(("method", "status"), [("PATCH", 200), ("DELETE", 204)])
    def test_who_saw_the_last_edit_is_not(self, send, admin, path, modified, method, status):
        body = {"description": "second"} if method == "PATCH" else None

        assert send(method, path, body, {**admin, "If-Unmodified-Since": modified}).status_int == status

    def test_a_new_price_does_not_stand_in_the_way(self, client, send, admin, clock, path, modified, sync, upstream):
        clock.shift(60)
        product_id = path.rpartition("/")[2]
        upstream.offer(UUID(product_id), {uuid4(): (1000, 1)})
        sync(product_id)
        clock.shift(10)
        assert client.get(path).headers["Last-Modified"] != modified

        answer = send("PATCH", path, {"description": "Better"}, {**admin, "If-Unmodified-Since": modified})

        assert answer.status_int == 200

    @only_sqlite
    def test_beside_if_match_it_is_not_looked_at(self, send, admin, path, tag):
        headers = {**admin, "If-Match": tag, "If-Unmodified-Since": EARLY}

        assert send("PATCH", path, {"description": "Better"}, headers).status_int == 200
