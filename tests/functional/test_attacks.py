"""Attacks that fail safely: on every parameter that the contract has, on JSON itself, with characters and with names.

Those on tokens are in test_authorization.py, those on connections and paths in test_hostile_connections.py, those on
the log in test_request_ids.py and unit/test_logs.py, guessing in test_login_throttle.py: see docs/security.md.
"""

import json
import re
import time
import unicodedata
from importlib.metadata import version
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import event

from productagg.accounts import users as accounts
from productagg.api import SERVICES
from productagg.api.openapi.document import document
from productagg.catalog.product_values import FACTS
from productagg.db.models import OFFERS_SOURCE, Base, Product, User
from tests.conftest import PASSWORD
from tests.databases import only_sqlite
from tests.factories import make_product, make_products, rows
from tests.functional.problems import assert_problem
from tests.scale import ALL_TESTS

CONTRACT = document(SERVICES)
GOOD = {"name": "Lamp", "description": "Bright"}

# To leave a text, a number, and a text in which backslashes escape; and what may be taken for a parameter.
SQL = [
    "'; DROP TABLE products; --",
    "1; SELECT pg_sleep(60)",
    "\\'; DELETE FROM users; --",
    "%(name)s :name ? $1",
]
if ALL_TESTS:
    SQL += [
        "' OR '1'='1",
        "') UNION SELECT password_hash FROM users --",
        "%' OR name LIKE '%",
        "%(name)s",
        ":name ? $1",
    ]


def resolved(part):
    """What a $ref of the contract stands for."""
    while "$ref" in part:
        found = CONTRACT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def operations():
    for path, item in CONTRACT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                own = [*item.get("parameters", ()), *operation.get("parameters", ())]
                yield method.upper(), path, operation, [resolved(each) | name_of(each) for each in own]


def name_of(parameter):
    """A header's name is where it is referred to."""
    return {"name": parameter["$ref"].rpartition("/")[2], "in": "header"} if "$ref" in parameter else {}


def bodies(operation):
    """The media types and schemas of a body, with a good one."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if "json" in media_type:
            yield media_type, resolved(content["schema"]), content.get("example")


def spoilt(schema, good, attack):
    """Every body in which one member is an attack."""
    if "properties" in schema:
        members = good if isinstance(good, dict) else {}
        for name, member in schema["properties"].items():
            for inner in spoilt(resolved(member), members.get(name), attack):
                yield {**members, name: inner}
            yield {**members, attack: "x"}
    elif schema.get("type") == "array":
        for inner in spoilt(resolved(schema["items"]), (good or [None])[0], attack):
            yield [inner]
    else:
        yield attack


OPERATIONS = {f"{method} {path}": (method, path, operation, own) for method, path, operation, own in operations()}


@pytest.mark.parametrize("what", OPERATIONS)
def test_sql_in_any_parameter_is_only_text(send, admin, client, database, monkeypatch, what):
    method, path, operation, parameters = OPERATIONS[what]
    monkeypatch.setattr(client.background, "submit", lambda _product_id: None)
    product_id = make_product(database, "Stays as it is")
    before = contents(database)

    for attack in SQL:
        for attacked in parameters:
            if method == "DELETE":
                product_id = make_product(database, f"{attack} {attacked['name']}")
            good = {each["name"]: str(each.get("example", each["schema"].get("example", "x"))) for each in parameters}
            values = {**good, **({"id": str(product_id)} if "/products/" in path else {}), attacked["name"]: attack}
            placed = {
                where: [each["name"] for each in parameters if each["in"] == where] for where in ("path", "header")
            }
            url = path.format(**{name: quote(values[name], safe="") for name in placed["path"]})
            if attacked["in"] == "query":
                url = f"{url}?{urlencode({attacked['name']: attack})}"
            headers = {attacked["name"]: attack} if attacked["in"] == "header" else {}
            check(send(method, url, None, {**admin, **headers}), attack)
        for media_type, schema, good in bodies(operation):
            for body in spoilt(schema, good, attack):
                if "{id}" in path:
                    product_id = make_product(database, f"Changed {time.monotonic_ns()}")
                url = path.format(id=product_id, offer_id=product_id, source_id=OFFERS_SOURCE)
                answer = send(method, url, body, {**admin, "Content-Type": media_type})
                check(answer, attack)
                if answer.status_int in (200, 201) and isinstance(body, dict) and attack in body.values():
                    assert attack in answer.json.values()

    after = contents(database)
    assert after[User.__tablename__] == before[User.__tablename__]
    assert set(before[Product.__tablename__]) <= set(after[Product.__tablename__])


def check(answer, attack):
    assert answer.status_int < 500, (attack, answer)
    assert "argon2" not in answer.text


def contents(database):
    with database.reader.connect() as connection:
        return {table.name: connection.execute(table.select()).all() for table in Base.metadata.sorted_tables}


@only_sqlite  # no database is asked
@pytest.mark.parametrize(
    "query",
    [
        pytest.param("&".join(f"k{number}=1" for number in range(10_000)), id="10,000 names"),
        pytest.param("&".join(["k=1"] * 60_000), id="60,000 times one name", marks=pytest.mark.slow),
    ],
)
def test_any_number_of_query_parameters_is_refused_at_once_and_in_few_words(send, admin, query, subtests):
    product_id = "019aa3f2-6c1e-7d43-9a51-0c6f2d9b7e10"
    for method, path in [(method, path) for method, path, *_ in OPERATIONS.values() if method == "GET"]:
        with subtests.test(path):
            url = path.format(id=product_id, offer_id=product_id, source_id=product_id, code="not-found")
            began = time.process_time()

            answer = send(method, f"{url}?{query}", None, admin)

            # With work for each pair of them this would take longer.
            assert time.process_time() - began < 1
            assert_problem(answer, "invalid-data")
            assert len(answer.json["errors"]) <= 50
            assert len(answer.body) < 10_000


@pytest.fixture
def unchanged(database, stored):
    """A product that nothing happens to, and no others."""
    make_product(database, "Stored", "As it was")
    before = contents(database)
    yield
    after = contents(database)
    assert after.pop("login_counters") is not None and before.pop("login_counters") == []
    assert after == before


@pytest.fixture
def write(send, admin, database, unchanged):
    """Send a body to whatever takes one: for each answer, the method and path."""

    def write(body):
        for method, path, operation, _ in OPERATIONS.values():
            for media_type, _, _ in bodies(operation):
                url = path.format(id=rows(database, Product)[0].id, offer_id=OFFERS_SOURCE, source_id=OFFERS_SOURCE)
                yield f"{method} {path}", send(method, url, body, {**admin, "Content-Type": media_type})

    return write


DUPLICATES = (
    b'{"name": "One", "name": "Two", "description": ""}',
    b'{"name": "One", "description": "", "n\\u0061me": "Two"}',
    b'{"username": "admin", "password": "x", "password": "correct horse"}',
    b'{"name": {"a": 1, "a": 1}}',
    b'[{"name": "One", "name": "Two"}]',
)


@only_sqlite  # no database is asked
@pytest.mark.parametrize("body", DUPLICATES)
def test_a_member_that_stands_twice_is_refused(write, body, subtests):
    """Else the last one counted here, and perhaps the first one for whoever looked at it before."""
    for what, answer in write(body):
        with subtests.test(what):
            problem = assert_problem(answer, "malformed-json")
            assert "more than once" in problem["detail"]


@only_sqlite  # no database is asked
@pytest.mark.parametrize("depth", [2, 500, 990, 1000, 1023, 1024, 50_000])
@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"name":', b"}")])
def test_nesting_does_no_harm_however_deep(write, depth, around, subtests):
    nested = b'{"name":' + around[0] * (depth // len(around[0])) + b"1" + around[1] * (depth // len(around[0])) + b"}"
    for what, answer in write(nested):
        with subtests.test(what):
            assert answer.status_int in (400, 422)


@only_sqlite  # no database is asked
@pytest.mark.parametrize(
    "body",
    [
        json.dumps({f"member {number}": number for number in range(12_000)}).encode(),
        b"{" + b",".join(b'"%d":1' % (number % 2) for number in range(40_000)) + b"}",
        b'{"name":' + b"9" * 250_000 + b"}",
        b'{"name":1e' + b"9" * 250_000 + b"}",
        b'{"name":"' + b"\\u0041" * 40_000 + b'"}',
        b'{"' + b"x" * 250_000 + b'":1}',
    ],
    ids=["many members", "many duplicates", "a long number", "a long exponent", "a long text", "a long name"],
)
def test_a_body_that_is_work_to_read_is_refused_at_once_and_in_few_words(write, body, subtests):
    for what, answer in write(body):
        with subtests.test(what):
            assert answer.status_int in (400, 422)
            assert len(answer.json.get("errors", ())) <= 50
            assert len(answer.json["detail"]) < 2000


class TestNames:
    def test_one_name_has_one_spelling(self, send, admin, stored):
        composed, decomposed = "Caf\u00e9 \u212b", unicodedata.normalize("NFD", "Caf\u00e9 \u00c5")

        made = send("POST", "/products", {"name": decomposed, "description": decomposed}, admin)

        assert made.json["name"] == "Caf\u00e9 \u00c5"
        assert made.json["description"] == decomposed  # a text is kept as it is
        for again in (composed, f"  {decomposed}\u3000", "Caf\u00e9 \u00c5"):
            assert_problem(send("POST", "/products", {"name": again, "description": ""}, admin), "duplicate-name")
        assert stored() == 1

    def test_how_long_it_is_is_measured_in_that_spelling(self, send, admin):
        name = "e\u0301" * 200

        assert send("POST", "/products", {"name": name, "description": ""}, admin).status_int == 201

    def test_what_only_looks_alike_is_another_name(self, send, admin, stored):
        """Latin, Cyrillic, Greek, full width, a ligature, capitals, a space that is wider: no folding, no confusion."""
        for name in ("scope fi", "\u0455\u0441\u043e\u0440\u0435 fi", "sc\u03bfpe fi", "\uff53cope fi", "scope \ufb01"):
            assert send("POST", "/products", {"name": name, "description": ""}, admin).json["name"] == name
        for name in ("Scope fi", "scope\u00a0fi"):
            assert send("POST", "/products", {"name": name, "description": ""}, admin).status_int == 201
        assert stored() == 7

    @only_sqlite
    @pytest.mark.parametrize(
        "trick",
        "\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2060\u2063\u00ad\ufeff\u3164\uffa0\u2028"
        "\ufff9\U000e0041\U000e0001\u115f\u1160\u034f\u17b4\u180b\ufe00\ufe0f\U000e0100",
        ids=lambda trick: f"U+{ord(trick):04X}",
    )
    def test_what_does_not_show_is_refused(self, send, admin, unchanged, database, trick):
        product_id = rows(database, Product)[0].id
        for name in (f"Sto{trick}red", f"{trick}Stored", f"Stored{trick}"):
            # White space at an end is cut off, whatever it is.
            if name.strip() == name:
                body = {"name": name, "description": ""}
                for answer in (
                    send("POST", "/products", body, admin),
                    send("PATCH", f"/products/{product_id}", body, admin),
                ):
                    assert_problem(answer, "invalid-data", {"/name": "must not contain invisible characters"})

    @only_sqlite
    @pytest.mark.parametrize(
        "name",
        [
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with its joiner
            "\u0915\u094d\u200d\u0937",  # Devanagari
            "\U0001f469\u200d\U0001f52c \u2764\ufe0f",  # emoji
            "\u05de\u05e0\u05d5\u05e8\u05d4 LED \u0645\u0635\u0628\u0627\u062d",  # right to left by its letters alone
            "\u845b\U000e0100\u57ce",  # a kanji's variant
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        ],
    )
    def test_what_languages_need_is_taken(self, send, admin, name):
        assert send("POST", "/products", {"name": name, "description": ""}, admin).json["name"] == name

    def test_in_a_username_nothing_is_folded(self, send, database, users):
        with database.sessions.begin() as session:
            accounts.add(session, "ren\u00e9", PASSWORD, "reader")

        for username in (
            "Admin",
            "ADMIN",
            " admin",
            "admin ",
            "\u0430dmin",
            "\uff41dmin",
            "adm\u0131n",
            "admin\u200b",
            "adm\u00adin",
            "rene",
        ):
            answer = send("POST", "/login", {"username": username, "password": PASSWORD})
            assert_problem(answer, "wrong-credentials")
        for username in ("ren\u00e9", "rene\u0301"):
            assert send("POST", "/login", {"username": username, "password": PASSWORD}).status_int == 200


# What answers say, tables hold and tokens claim, and what frameworks have fallen for.
ASSIGNED = {
    *(member for shape in CONTRACT["components"]["schemas"].values() for member in shape.get("properties", ())),
    *(column.name for table in Base.metadata.sorted_tables for column in table.columns),
    *(
        "sub",
        "generation",
        "exp",
        "is_admin",
        "admin",
        "permissions",
        "__proto__",
        "constructor",
        "__class__",
        "_method",
    ),
}


@pytest.fixture(params=range(6))
def assigned(request):
    """A sixth of them, for not all faults are listed when there are many: a body, and the faults."""
    members = sorted(ASSIGNED - {"name", "description", *FACTS, "username", "password"})[request.param :: 6]
    return dict.fromkeys(members, "admin"), {f"/{member}": "is not known" for member in members}


@only_sqlite
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_nothing_can_be_set_but_what_is_meant_to_be(send, admin, unchanged, database, method, assigned):
    path = f"/products/{rows(database, Product)[0].id}" if method == "PATCH" else "/products"
    body, faults = assigned

    assert_problem(send(method, path, GOOD | body, admin), "invalid-data", faults)


@only_sqlite
def test_no_login_is_told_who_it_is(send, users, assigned):
    body, faults = assigned

    answer = send("POST", "/login", {"username": "reader", "password": PASSWORD, **body})

    assert_problem(answer, "invalid-data", faults)


MADE_WITH = re.compile(r"(?i)pyramid|cornice|waitress|webob|colander|sqlalchemy|psycopg|python|site-packages|\.py\b")


@pytest.fixture
def break_statements(client):
    """Have every statement of the application fail from now on, until the test ends."""

    def fail(*_):
        raise RuntimeError("File '/usr/lib/python3/site-packages/sqlalchemy/engine.py', line 1")

    engines = client.services.engines

    def break_all():
        for engine in engines:
            event.listen(engine, "before_cursor_execute", fail)

    yield break_all
    for engine in engines:
        if event.contains(engine, "before_cursor_execute", fail):
            event.remove(engine, "before_cursor_execute", fail)


@only_sqlite
@pytest.mark.parametrize("breaks", [False, True], ids=["well", "broken"])
def test_no_answer_says_what_it_was_made_with(send, admin, database, break_statements, breaks, subtests):
    product_ids = make_products(database, len(OPERATIONS))
    if breaks:
        break_statements()

    for product_id, (what, (method, path, _, _)) in zip(product_ids, OPERATIONS.items(), strict=True):
        with subtests.test(what):
            url = path.format(id=product_id, offer_id=product_id, source_id=product_id, code="not-found")
            body = GOOD | {"name": what} if method in ("POST", "PATCH") else None
            answer = send(method, url, body, admin)

            assert not MADE_WITH.search(answer.text)
            assert not MADE_WITH.search(str(answer.headers))
            assert not {"Server", "X-Powered-By", "Via"} & set(answer.headers)


def test_the_only_version_that_is_told_is_the_contracts(client):
    assert client.get("/openapi.json").json["info"]["version"] == version("productagg")
    # Which it is made of can be seen, but not which one.
    assert not re.search(r"\d+\.\d+\.\d+|pyramid|waitress", client.get("/docs").text, re.IGNORECASE)
