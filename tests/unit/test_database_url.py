"""Which databases a URL may name, and which driver is used."""

import pytest

from productagg.settings import database_url


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("postgres://user:password@db/name", "postgresql+psycopg2://user:password@db/name"),
        ("postgresql://user:password@db/name", "postgresql+psycopg2://user:password@db/name"),
        ("postgresql+psycopg2://user:password@db/name", "postgresql+psycopg2://user:password@db/name"),
        (
            "postgres://user:p%40ss@db:5433/name?sslmode=require",
            "postgresql+psycopg2://user:p%40ss@db:5433/name?sslmode=require",
        ),
        ("postgresql:///name?host=/run/postgresql", "postgresql+psycopg2:///name?host=%2Frun%2Fpostgresql"),
        (" postgres://db/name\n", "postgresql+psycopg2://db/name"),
        ("sqlite:///var/productagg.sqlite", "sqlite:///var/productagg.sqlite"),
        ("sqlite:////var/lib/productagg.sqlite", "sqlite:////var/lib/productagg.sqlite"),
    ],
)
def test_every_postgresql_url_gets_psycopg2(text, read):
    assert database_url(text).render_as_string(hide_password=False) == read


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///:memory:?cache=shared", "in memory"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "in memory"),
        ("sqlite:///file:name?mode=memory&cache=shared&uri=true", "in memory"),
        ("mysql://user:hunter2@db/name", "does not support"),
        ("postgresql+psycopg://user:hunter2@db/name", "does not support"),
        ("postgresql+asyncpg://user:hunter2@db/name", "does not support"),
        ("sqlite+aiosqlite:///name.sqlite", "does not support"),
        ("http://user:hunter2@db/name", "does not support"),
        ("hunter2", "not a database URL"),
        ("", "not a database URL"),
        ("postgresql://user:hunter2@db:port/name", "not a database URL"),
        ("postgresql://user:hunter2@[::1/name", "not a database URL"),
        ("://user:hunter2@db/name", "not a database URL"),
    ],
)
def test_an_unusable_url_is_refused_without_showing_its_password(text, problem):
    with pytest.raises(ValueError, match=problem) as raised:
        database_url(text)

    assert "hunter2" not in f"{raised.value!r}"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("options=-csearch_path%3Dshop", "search_path"),
        ("options=-c%20work_mem%3D8MB%20-c%20Search_Path%3Dshop", "search_path"),
        ("options=--search_path%3Dshop", "search_path"),
        ("options=--search-path%3Dshop", "search_path"),
        ("options=-c%20client_encoding%3Dlatin1", "client_encoding"),
        ("client_encoding=latin1", "client_encoding"),
    ],
)
def test_a_setting_that_productagg_fixes_is_refused_by_name(query, named):
    with pytest.raises(ValueError, match=named) as raised:
        database_url(f"postgresql://user:hunter2@db/name?{query}")

    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)
