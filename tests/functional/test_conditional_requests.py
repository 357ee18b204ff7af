"""ETag, If-None-Match and If-Match (RFC 9110, 13): what a client that has seen a version may rely on."""

from uuid import UUID, uuid4

import pytest

from tests.functional.problems import assert_problem


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


@pytest.mark.parametrize("form", ["{tag}", "W/{tag}", '"other", {tag}'])
def test_who_has_the_current_answer_gets_304_and_no_body(client, path, tag, form):
    answer = client.get(path, headers={"If-None-Match": form.format(tag=tag)}, status=304)

    assert answer.body == b""
    assert answer.headers["ETag"] == tag


@pytest.mark.parametrize("known", ['"other"', "nonsense", '"1-"'])
def test_who_has_another_answer_gets_the_current_one(client, path, tag, known):
    answer = client.get(path, headers={"If-None-Match": known}, status=200)

    assert answer.headers["ETag"] == tag
    assert answer.json["name"] == "Lamp"


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


@pytest.mark.parametrize("form", ["{tag}", "*", '"other", {tag}', '"other",{tag}', '{tag},"9-x"', 'W/"1-x", {tag}'])
@pytest.mark.parametrize(("method", "status"), [("PATCH", 200), ("DELETE", 204)])
def test_a_write_that_names_the_current_version_succeeds(send, admin, path, tag, form, method, status):
    body = {"description": "Better"} if method == "PATCH" else None

    answer = send(method, path, body, {**admin, "If-Match": form.format(tag=tag)})

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
