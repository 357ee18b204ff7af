"""Checks and sorts all lines of a file to import, before anything is written.

Lines go to a temporary database on disk, so files may have any length and order. This module reports what is wrong with
a file; history/importing.py turns a valid one into steps.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.models import Product
from productagg.history.lines import Line
from productagg.history.timeline import DAY, bucket_start, microseconds, moment
from productagg.record_reader import RecordError
from productagg.times import format_time

MOST_REPORTED = 50
_CHUNK = 1000


class BadFile(Exception):
    """Lines of the file are invalid: the first ones with their numbers and reasons, and how many more there are."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.more = 0

    def add(self, number: int, reason: str) -> None:
        if len(self.lines) < MOST_REPORTED:
            self.lines.append((number, reason))
        else:
            self.more += 1


class StagedProduct(NamedTuple):
    """A product of the file: how many lines it has, and when its own history begins."""

    id: UUID
    lines: int
    own_from: int


class Staged(AbstractContextManager["Staged"]):
    """The lines of a file, sorted by product and time."""

    def __init__(self) -> None:
        # Without a name, SQLite creates a temporary file, and removes it with the connection.
        self._database = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(
            "CREATE TABLE line (product_id, at, offer_id, price, items, currency, number,"
            " PRIMARY KEY (product_id, at, offer_id)) WITHOUT ROWID"
        )
        self.own_from: dict[UUID, int] = {}

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, number: int, line: Line) -> int | None:
        """Keep a line. If there is a line of the same offer and time already, return its number instead."""
        offer_id = line.offer_id.bytes if line.offer_id else b""
        key = (line.product_id.bytes, line.at, offer_id)
        row = (*key, line.price, line.items_in_stock, line.currency, number)
        added = self._database.execute("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        if added.rowcount:
            return None
        query = "SELECT number FROM line WHERE (product_id, at, offer_id) = (?, ?, ?)"
        return int(self._database.execute(query, key).fetchone()[0])

    def products(self) -> list[StagedProduct]:
        """In the order of their ids."""
        found = self._database.execute("SELECT product_id, count(*) FROM line GROUP BY product_id ORDER BY product_id")
        return [StagedProduct(id_ := UUID(bytes=value), lines, self.own_from[id_]) for value, lines in found]

    def lines(self, product_id: UUID) -> Iterator[Line]:
        """A product's lines, by time."""
        query = "SELECT offer_id, at, price, items, currency FROM line WHERE product_id = ? ORDER BY at, offer_id"
        ids: dict[bytes, UUID | None] = {b"": None}
        for value, at, price, items, currency in self._database.execute(query, (product_id.bytes,)):
            if value not in ids:
                ids[value] = UUID(bytes=value)
            yield Line(product_id, ids[value], at, price, items, currency)


def stage(
    staged: Staged, numbered: Iterable[tuple[int, Line | RecordError]], sessions: sessionmaker[Session], now: datetime
) -> None:
    """Check all lines and keep them. Raises BadFile if any of them is invalid.

    Transactions are short: reading the lines may take long.
    """
    bad = BadFile()
    for number, line in _with_products(staged, numbered, sessions):
        reason = _reason_invalid(staged, number, line, now)
        if reason is not None:
            bad.add(number, reason)
    if not staged.own_from and not bad.lines:
        bad.add(1, "there are no lines in the file")
    if bad.lines:
        raise bad


def _with_products(
    staged: Staged, numbered: Iterable[tuple[int, Line | RecordError]], sessions: sessionmaker[Session]
) -> Iterator[tuple[int, Line | RecordError]]:
    """The lines, unchanged. When a line comes, its product has been looked up, together with many others."""
    numbered = iter(numbered)
    while chunk := list(islice(numbered, _CHUNK)):
        unseen = {line.product_id for _, line in chunk if isinstance(line, Line)} - staged.own_from.keys()
        if unseen:
            with sessions.begin() as session:
                staged.own_from.update(own_histories(session, unseen))
        yield from chunk


def _reason_invalid(staged: Staged, number: int, line: Line | RecordError, now: datetime) -> str | None:
    """Why a line is invalid. If it is valid, keep it and return None."""
    if isinstance(line, RecordError):
        return str(line)
    own_from = staged.own_from.get(line.product_id)
    if own_from is None:
        return f"there is no product {line.product_id}"
    if line.at > microseconds(now):
        return f"{_time(line.at)} is in the future"
    if line.at >= own_from:
        return f"{_time(line.at)} is not before {_time(own_from)}, the day the product was created"
    same = staged.add(number, line)
    return f"line {same} has the same offer and time" if same is not None else None


def _time(at: int) -> str:
    return format_time(moment(at))


def own_histories(session: Session, product_ids: Collection[UUID]) -> dict[UUID, int]:
    """When the products' own histories begin: with the UTC day on which the product was created."""
    found = session.execute(select(Product.id, Product.created_at).where(Product.id.in_(product_ids)))
    return {id_: bucket_start(microseconds(created_at), DAY) for id_, created_at in found}
