"""No response and no stored value depends on the settings of the database, the role or the session."""

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text

from productagg.accounts import users
from productagg.app import main
from productagg.db.models import Base, Offer, ProductSource, SyncRun
from productagg.settings import database_url
from tests.conftest import PASSWORD, Client, Database, ini
from tests.databases import only_postgresql
from tests.factories import rows
from tests.pooler import Pooler

# Each of these settings changes how PostgreSQL reads or writes values, if code relies on the default.
HOSTILE = {
    "timezone": "Asia/Tokyo",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "search_path": "elsewhere",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN2",
    "default_transaction_isolation": "serializable",
    "transform_null_equals": "on",
    "xmlbinary": "hex",
}
# Times around midnight in UTC, which are on another day or in another month in other time zones.
_FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=12)


def _day(number):
    return (_FIRST + timedelta(days=number)).date().isoformat()


MARGIN = timedelta(seconds=1)
TABLES = list(Base.metadata.tables)
ONE, OTHER = UUID("0197f4c4-0000-7000-8000-000000000001"), UUID("0197f4c4-0000-7000-8000-000000000002")
OFFERS = [UUID(int=number) for number in (1, 2, 3)]
CATALOGUE = [
    {
        "id": str(ONE),
        "name": "Żółw \\ 'so' \"with_settings\" 日本 %s $1",
        "description": "a\\'b\nC:\\new\\table",
        "created_at": f"{_day(9)}T22:30:00.000001Z",
        "updated_at": f"{_day(9)}T23:59:59.999999Z",
        "gtin": "4006381333931",
        "brand": "Żółw & \\'Söhne",
        "category": 'Home > "Odd" \\ 日本',
        "image_url": "https://shop.example/%C5%BB.png?a='b'",
    },
    {
        "id": str(OTHER),
        "name": "Lamp",
        "description": "",
        "created_at": f"{_day(10)}T00:30:00Z",
        "updated_at": f"{_day(11)}T15:00:00.5Z",
        **dict.fromkeys(("gtin", "brand", "category", "image_url")),
    },
]
HISTORY = [
    "product_id,offer_id,at,price,items_in_stock,currency",
    f"{ONE},{OFFERS[2]},{_day(0)}T14:59:59.999999Z,100,3,EUR",
    f"{ONE},{OFFERS[2]},{_day(0)}T15:30:00Z,90,3,EUR",
    f"{ONE},,{_day(1)}T23:30:00Z,,,",
]
_MONTHS = (
    "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class"
    " WHERE relispartition AND relkind = 'r' AND relname !~ '_default$'"
)
WINDOW = f"from={_day(0)}T12:00:00Z&to={_day(8)}T12:00:00Z"
PATHS = [
    "/products?sort=name",
    "/products?sort=-updated_at&limit=1",
    "/products?sort=created_at&limit=1&q=a",
    f"/products?updated_since={_day(11)}T15:00:00Z",
    "/products?q=%5Cnew%5Ctable",
    "/products?min_price=1&in_stock=true&sort=lowest_price",
    f"/products/{ONE}",
    f"/products/{ONE}/offers?closed=true",
    f"/products/{ONE}/offers?at={_day(0)}T15:00:00Z",
    f"/products/{ONE}/prices?{WINDOW}&resolution=raw",
    f"/products/{ONE}/prices?{WINDOW}&resolution=day",
    f"/products/{ONE}/prices?{WINDOW}&resolution=week",
    f"/products/{ONE}/offers/{OFFERS[2]}/prices?{WINDOW}",
    f"/products/{ONE}/trend?{WINDOW}",
    "/changes",
    "/movers",
]


@pytest.fixture
def server(own_postgres_server):
    return own_postgres_server


@pytest.fixture(params=["session", "transaction"])
def hostile(request, server):
    """DATABASE_PREPARED, name and database: a database with hostile settings, behind a pooler that drops `options`.

    It was migrated with these settings, too.
    """
    name, prepared = f"hostile_{request.param}", "true" if request.param == "session" else "false"
    settings = [f"ALTER DATABASE {name} SET {setting} = '{value}'" for setting, value in HOSTILE.items()]
    _as_admin(server, "postgres", f"CREATE DATABASE {name}")
    _as_admin(
        server,
        name,
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.alembic_version AS SELECT '0001' AS version_num",
        *settings,
    )
    connections = 2 if request.param == "transaction" else 20
    with Pooler(server, name, mode=request.param, connections=connections) as pooler:
        database = Database("postgresql", pooler.url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_PREPARED", prepared)
            database.migrate()
        # Statements that do not name the schema use these tables, which must stay empty.
        _as_admin(server, name, *(f"CREATE TABLE elsewhere.{table} (LIKE public.{table})" for table in TABLES))
        yield prepared, name, database
        database.close()


def _as_admin(server, database, *statements):
    """Execute statements as the owner, and return the rows of the last one."""
    admin = create_engine(database_url(server.url(database)), isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            for statement in statements:
                result = connection.execute(text(statement))
            return result.all() if result.returns_rows else []
    finally:
        admin.dispose()


def answers(client, admin, runs):
    """Return the bodies of the API's responses by path, with the second page of lists."""
    bodies = {}
    paths = [*PATHS, "/sync-runs?limit=1", *(f"/sync-runs/{run_id}" for run_id in runs)]
    for path in paths:
        answer = client.get(path, headers=admin if path.startswith("/sync-runs") else None, status=200)
        bodies[path] = answer.body
        following = re.search(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        if following and path.startswith("/products?"):
            bodies[f"{path} 2"] = client.get(following[1], status=200).body
    return bodies


@only_postgresql
def test_no_setting_changes_what_is_written_or_answered(hostile, server, upstream, run, write):
    prepared, name, database = hostile
    options = {"history.raw_days": "3660"}
    environ = {"HISTORY_RAW_DAYS": "3660", "DATABASE_URL": database.url, "DATABASE_PREPARED": prepared}
    upstream.offer(ONE, {OFFERS[0]: (30, 3), OFFERS[1]: (40, 4)})
    began = datetime.now(UTC)

    def output(*arguments):
        done = run(*arguments, **environ)
        assert done.exit_code == 0, done.output
        return done.stdout_bytes

    def everything(client):
        exports = [("export", "--format", "ndjson"), ("history", "export")]
        return answers(client, client.log_in(), runs), [output(*command) for command in exports]

    # Write and read with these settings
    output("import", write("products.ndjson", *(json.dumps(each, ensure_ascii=False) for each in CATALOGUE)))
    output("history", "import", write("history.csv", *HISTORY))
    output("sync")
    output("history", "compact")
    direct = Database("postgresql", server.url(name))
    with direct.sessions.begin() as session:
        users.add(session, "admin", PASSWORD, "admin")
    runs = [row.id for row in rows(direct, SyncRun)]
    client = Client(main({}, **ini(database, upstream, **options, **{"database.prepared": prepared})))
    headers = {**client.log_in(), "Idempotency-Key": "it's"}
    new = {"name": "New \\ one", "description": "'"}
    posted, again = (client.post_json("/products", new, headers=headers, status=201) for _ in range(2))
    client.background.wait()
    client.patch_json(f"/products/{OTHER}", {"description": "\\"}, headers=client.log_in(), status=200)
    with_settings = everything(client)
    client.close()
    misplaced = _as_admin(server, name, " UNION ALL ".join(f"SELECT 1 FROM elsewhere.{table}" for table in TABLES))
    # Read without them
    _as_admin(server, name, f"ALTER DATABASE {name} RESET ALL", "DROP SCHEMA elsewhere CASCADE")
    direct.close()
    environ |= {"DATABASE_PREPARED": "true", "DATABASE_URL": direct.url}
    client = Client(main({}, **ini(direct, upstream, **options)))
    without_settings = everything(client)
    client.close()

    assert with_settings == without_settings
    assert misplaced == []
    assert again.body == posted.body
    products, prices = ([line.decode() for line in each.splitlines()] for each in without_settings[1][:2])
    assert [json.loads(line) for line in products[:1]] == CATALOGUE[:1]
    assert json.loads(products[1])["description"] == "\\"
    assert prices[: len(HISTORY)] == HISTORY
    (asked,) = rows(direct, ProductSource, product_id=ONE)
    assert began - MARGIN <= asked.last_synced_at <= datetime.now(UTC) + MARGIN
    stored = {row.id: row.price for row in rows(direct, Offer, product_id=ONE) if row.closed_at is None}
    assert stored == {OFFERS[0]: 30, OFFERS[1]: 40}
    months = _as_admin(server, name, _MONTHS)
    assert len(months) >= 6
    for table, bound in months:
        assert bound.startswith(f"FOR VALUES FROM ('{table[-7:].replace('_', '-')}-01 00:00:00+00')")
    direct.close()
