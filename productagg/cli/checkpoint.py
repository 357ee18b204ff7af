"""The checkpoint of an import: how far it came, and the names that it has read, on disk.

For `productagg import`, which continues there if it was interrupted. The checkpoint is the SQLite database FILE.resume
beside the file, and is removed when the whole file is imported. For standard input, and in a directory that is not
writable, it is a temporary file without a name.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

import orjson

from productagg.cli.bootstrap import CannotRun

# A killed process leaves the database whole. A power failure may not; then the import starts from the beginning.
_PREPARATION = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE IF NOT EXISTS name (hash INTEGER PRIMARY KEY, line INTEGER)",
    "CREATE TABLE IF NOT EXISTS progress (value TEXT)",
    "CREATE TABLE IF NOT EXISTS written (id BLOB, line INTEGER, outcome TEXT)",
)
_WRITTEN = "SELECT id, outcome FROM written"


@dataclass
class Progress:
    """How far an import came: the lines and bytes that are done, their digest, and the counts of the outcomes.

    It belongs to one `target`: a database with the options of the import. `last_name` is the last product that was
    created, changed or found there. The file `rejects` has `rejected` bytes about invalid lines.
    """

    target: str
    line: int = 0
    offset: int = 0
    digest: str = ""
    last_name: str | None = None
    rejects: str | None = None
    rejected: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Checkpoint(AbstractContextManager["Checkpoint"]):
    """`progress` is the progress saved last, by this import or by an interrupted one; None if none was saved."""

    def __init__(self, file: Path) -> None:
        self.path = _path_beside(file)
        # The names since the last `save`: their hashes, and the lines that had them first.
        self._recent: dict[int, int] = {}
        with self._readable_errors():
            self._database = sqlite3.connect(self.path or "", timeout=0, isolation_level=None)
            for statement in _PREPARATION:
                self._database.execute(statement)
            self.progress = self._saved_progress()
            self._written = {UUID(bytes=id_): outcome for id_, outcome in self._database.execute(_WRITTEN)}

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _saved_progress(self) -> Progress | None:
        row = self._database.execute("SELECT value FROM progress").fetchone()
        return Progress(**orjson.loads(row[0])) if row else None

    def duplicates(self, names: Mapping[int, str]) -> dict[int, int]:
        """The lines whose names an earlier line has, with that earlier line.

        `names` are by line. New names are remembered for the next calls.
        """
        hashes = {line: _hash(name) for line, name in names.items()}
        saved = self._saved_lines(list(hashes.values()))
        first_lines = ((line, self._first_line(hash_, saved, line)) for line, hash_ in hashes.items())
        return {line: first for line, first in first_lines if first != line}

    def _first_line(self, hash_: int, saved: Mapping[int, int], line: int) -> int:
        """The first line with this hash; `line`, and remembered, if no earlier line had it."""
        return saved.get(hash_) or self._recent.setdefault(hash_, line)

    def _saved_lines(self, hashes: Sequence[int]) -> dict[int, int]:
        query = f"SELECT hash, line FROM name WHERE hash IN ({', '.join('?' * len(hashes))})"  # noqa: S608
        with self._readable_errors():
            return dict(self._database.execute(query, hashes))

    def announce(self, progress: Progress, products: Iterable[tuple[UUID, int, str]]) -> None:
        """Save the products (id, line, outcome) that a transaction is about to write, after `progress`.

        If the import is interrupted, they tell the next run whether the transaction was committed: see `outcome`.
        """
        with self._transaction():
            if self.progress is None:
                self._set(progress)
            rows = ((id_.bytes, line, outcome) for id_, line, outcome in products)
            self._database.executemany("INSERT INTO written VALUES (?, ?, ?)", rows)

    def outcome(self, id_: UUID) -> str | None:
        """What this import did with a product after `progress`, before it was interrupted; None if nothing."""
        return self._written.get(id_)

    def save(self, progress: Progress) -> None:
        """Save the progress, and the names up to there."""
        names = sorted((hash_, line) for hash_, line in self._recent.items() if line <= progress.line)
        with self._transaction():
            self._database.executemany("INSERT OR IGNORE INTO name VALUES (?, ?)", names)
            self._database.execute("DELETE FROM written WHERE line <= ?", [progress.line])
            self._set(progress)
        self._recent.clear()

    def _set(self, progress: Progress) -> None:
        self._database.execute("DELETE FROM progress")
        self._database.execute("INSERT INTO progress VALUES (?)", [orjson.dumps(asdict(progress)).decode()])
        self.progress = progress

    def reset(self) -> None:
        """Forget the progress of an interrupted import."""
        self.progress = None
        self._written.clear()
        with self._readable_errors():
            for table in ("name", "progress", "written"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608

    def remove(self) -> None:
        """Remove the file: the import is complete, or has written nothing."""
        self._database.close()
        if self.path:
            self.path.unlink()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._readable_errors():
            self._database.rollback()  # a transaction that a signal interrupted
            self._database.execute("BEGIN")
            yield
            self._database.execute("COMMIT")

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise CannotRun(f"another import is using {self.path}") from None
            raise CannotRun(f"{self.path or 'the temporary file'} cannot be used: {error}") from None


def _path_beside(file: Path) -> Path | None:
    is_possible = file.is_file() and os.access(file.absolute().parent, os.W_OK)
    return file.with_name(f"{file.name}.resume") if is_possible else None


def _hash(name: str) -> int:
    # Among a million names, the probability that two have the same hash is 1 in 37 million.
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
