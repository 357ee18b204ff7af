"""`make reset`: it removes the database of `make serve`, and never one that is in use."""

import contextlib
import fcntl
import os
import sqlite3

import pytest

from serve import lock_directory, reset


@pytest.fixture(autouse=True)
def _no_other_database(monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def path(tmp_path):
    """A database with a write-ahead log, as ours have one."""
    path = tmp_path / "productagg.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE products (name)")
    return path


def test_the_database_is_removed_with_all_its_files(path, tmp_path, capsys):
    assert reset(path) == 0

    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == "removed; the next 'make serve' begins anew\n"


def test_a_database_that_a_program_uses_stays(path, capsys):
    with contextlib.closing(sqlite3.connect(path)) as user:
        user.execute("SELECT name FROM products").fetchall()

        assert reset(path) == 1

        user.execute("INSERT INTO products VALUES ('Kettle')")
        assert user.execute("SELECT name FROM products").fetchall() == [("Kettle",)]
    assert capsys.readouterr().err.startswith(f"a program uses {path}: stop it")


def test_a_database_stays_while_make_serve_starts_or_runs(path, capsys):
    serving = lock_directory(path, fcntl.LOCK_SH)
    try:
        assert reset(path) == 1
    finally:
        os.close(serving)

    assert path.exists()
    assert capsys.readouterr().err == "'make serve' is running: stop it\n"


def test_a_damaged_database_is_removed(tmp_path):
    damaged = tmp_path / "productagg.sqlite"
    damaged.write_text("This is not a database, however long it is. " * 50)

    assert reset(damaged) == 0

    assert list(tmp_path.iterdir()) == []


def test_without_a_database_there_is_nothing_to_do(tmp_path, capsys):
    assert reset(tmp_path / "productagg.sqlite") == 0

    assert capsys.readouterr().out == "there is no database: 'make serve' makes one\n"


def test_a_database_that_was_chosen_by_hand_is_not_touched(path, monkeypatch, capsys):
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/mine")

    assert reset(path) == 1

    assert path.exists()
    assert "DATABASE_URL is set" in capsys.readouterr().err
