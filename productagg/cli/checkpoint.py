"""What an import keeps of the lines before, on disk: what names they had, and where to go on if it is interrupted.

For `productagg import`. It lies beside the file, as FILE.resume, until all of that is imported; for what cannot be read
again, or where nothing can be written, in a temporary file without a name.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

import orjson

from productagg.cli.bootstrap import CannotRun

_WRITTEN = "SELECT id, outcome FROM written"


@dataclass
class Position:
    """How far an import came: the lines and bytes before, a digest of these, and what became of them.

    It is one in `target` only: a database, and what is done there. `there` is the last name that was
    added to it, changed or found there. `rejected` bytes about bad lines are in the file `rejects`.
    """

    target: str
    line: int = 0
    offset: int = 0
    digest: str = ""
    there: str | None = None
    rejects: str | None = None
    rejected: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Remembered(AbstractContextManager["Remembered"]):
    """`position` is the last one that was kept, of this import or of one that was interrupted, or None."""

    def __init__(self, file: Path) -> None:
        again = file.is_file() and os.access(file.absolute().parent, os.W_OK)
        self.path = file.with_name(f"{file.name}.resume") if again else None
        self._recent: dict[int, int] = {}
        with self._explained():
            self._database = sqlite3.connect(self.path or "", timeout=0, isolation_level=None)
            # A killed process leaves it whole. A power failure need not: then there is another beginning.
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = OFF"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.execute("CREATE TABLE IF NOT EXISTS name (hash INTEGER PRIMARY KEY, line INTEGER)")
            self._database.execute("CREATE TABLE IF NOT EXISTS position (value TEXT)")
            self._database.execute("CREATE TABLE IF NOT EXISTS written (id BLOB, line INTEGER, outcome TEXT)")
            found = self._database.execute("SELECT value FROM position").fetchone()
            self.position = Position(**orjson.loads(found[0])) if found else None
            self._written = {UUID(bytes=id_): outcome for id_, outcome in self._database.execute(_WRITTEN)}

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def repeated(self, names: Mapping[int, str]) -> dict[int, int]:
        """Of these names by line, those that an earlier line has: their lines, and that one. The others are kept."""
        hashes = {line: _hash(name) for line, name in names.items()}
        query = f"SELECT hash, line FROM name WHERE hash IN ({', '.join('?' * len(hashes))})"  # noqa: S608
        with self._explained():
            earlier = dict(self._database.execute(query, list(hashes.values())))
        return {
            line: first
            for line, hash_ in hashes.items()
            if (first := earlier.get(hash_) or self._recent.setdefault(hash_, line)) != line
        }

    def expect(self, position: Position, products: Iterable[tuple[UUID, int, str]]) -> None:
        """The products (id, line, outcome) after `position` that a transaction is about to create or change.

        Whether it was committed, their being there will tell: see `outcome`.
        """
        with self._transaction():
            if self.position is None:
                self._set(position)
            rows = ((id_.bytes, line, outcome) for id_, line, outcome in products)
            self._database.executemany("INSERT INTO written VALUES (?, ?, ?)", rows)

    def outcome(self, id_: UUID) -> str | None:
        """What this import did with a product before it was interrupted, if it did anything after `position`."""
        return self._written.get(id_)

    def keep(self, position: Position) -> None:
        """Remember this position with the names before."""
        names = sorted((hash_, line) for hash_, line in self._recent.items() if line <= position.line)
        with self._transaction():
            self._database.executemany("INSERT OR IGNORE INTO name VALUES (?, ?)", names)
            self._database.execute("DELETE FROM written WHERE line <= ?", [position.line])
            self._set(position)
        self._recent.clear()

    def _set(self, position: Position) -> None:
        self._database.execute("DELETE FROM position")
        self._database.execute("INSERT INTO position VALUES (?)", [orjson.dumps(asdict(position)).decode()])
        self.position = position

    def begin_again(self) -> None:
        """Forget where an import was interrupted."""
        self.position = None
        self._written.clear()
        with self._explained():
            for table in ("name", "position", "written"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608

    def remove(self) -> None:
        """All is imported."""
        self._database.close()
        if self.path:
            self.path.unlink()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._database.rollback()  # if one was interrupted before
            self._database.execute("BEGIN")
            yield
            self._database.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise CannotRun(f"another import has {self.path} in use") from None
            raise CannotRun(f"{self.path or 'the temporary file'} cannot be used: {error}") from None


def _hash(name: str) -> int:
    # In a million names, that two have the same one is as likely as 1 to 37 million.
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
