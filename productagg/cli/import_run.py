"""One run of an import: it reads batches of records, writes each in a transaction, and saves checkpoints."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import IO, Any, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from productagg import record_reader
from productagg.catalog.batch_creation import NewProduct
from productagg.catalog.import_export import FIELDS, OPTIONAL, Imported, import_batch
from productagg.cli.checkpoint import Checkpoint, Progress
from productagg.cli.import_records import new_product
from productagg.cli.import_rejects import RejectedLines
from productagg.cli.signals import InterruptOnSignal
from productagg.db import clock
from productagg.record_reader import FileError, FilePosition, Format, LineReader, Numbered, RecordError

# A transaction writes one batch, which is small so that other writers do not wait long.
RECORDS_PER_BATCH = 1000
UPDATES_PER_BATCH = 100  # an update needs statements of its own
BYTES_PER_BATCH = 1 << 20
BATCHES_PER_CHECKPOINT = 50
# The longest record in bytes: the longest description with every character escaped.
MAX_RECORD_LENGTH = 200_000

_Result = TypeVar("_Result")

RUN_AGAIN = "run it again; it skips the products that exist"


class ImportRun:
    """One run of an import, from `start` on."""

    def __init__(
        self,
        content: IO[bytes],
        form: Format,
        start: Progress,
        checkpoint: Checkpoint,
        sessions: sessionmaker[Session],
        rejected: RejectedLines,
        signals: InterruptOnSignal,
        *,
        update: bool,
    ) -> None:
        # The line that ends the readable part of the file, and why.
        self._unreadable: tuple[int, FileError] | None = None
        self._max_records = UPDATES_PER_BATCH if update else RECORDS_PER_BATCH
        self._progress = start
        self._form = form
        self._update = update
        self._checkpoint = checkpoint
        self._sessions = sessions
        self._rejected = rejected
        self._signals = signals
        self._lines = LineReader(content, MAX_RECORD_LENGTH)
        after = (start.line, start.offset)
        self._records = record_reader.read(self._lines, form, FIELDS, OPTIONAL, multiline=True, after=after)
        self._size = os.fstat(content.fileno()).st_size if checkpoint.path else 0

    @property
    def unreadable_from(self) -> int | None:
        """The first line that could not be read, nor any after it; None if the whole file could be read."""
        return self._unreadable and self._unreadable[0]

    @property
    def counts(self) -> Counter[str]:
        """The number of records by outcome, including records of interrupted runs."""
        return Counter(self._progress.counts)

    @property
    def advice(self) -> str:
        """What to do after the import ended early."""
        saved = self._checkpoint.progress
        if self._checkpoint.path and saved is not None and saved.line:
            return f"run it again; it continues after line {saved.line}"
        return RUN_AGAIN

    def run(self, show_progress: Callable[[int, int], None] | None) -> None:
        """Import everything that can be read."""
        for number, (batch, position) in enumerate(self._batches(), 1):
            self._import_batch(batch, position)
            if number % BATCHES_PER_CHECKPOINT == 0:
                self.save()
            if show_progress is not None:
                show_progress(self._lines.number, self._size * self._lines.number // self._lines.offset)

    def save(self) -> None:
        """Save where to continue."""
        if self._progress.line:
            self._rejected.sync()
            self._checkpoint.save(self._progress)
        elif self._checkpoint.progress is None:  # nothing was written
            self._checkpoint.remove()

    def _batches(self) -> Iterator[tuple[list[Numbered], FilePosition]]:
        """Batches of records, and where they end."""
        batch: list[Numbered] = []
        begin, end = self._lines.offset, self._lines.position()
        for number, record in self._readable_records():
            batch.append((number, record))
            end = self._lines.position()
            if self._is_full(len(batch), end.offset - begin):
                yield batch, end
                batch, begin = [], end.offset
            self._signals.check()  # the next line of a pipe may not come for hours
        if batch:
            yield batch, end
        if self._unreadable is not None:
            self._rejected.add(*self._unreadable)
            self._rejected.flush()

    def _is_full(self, records: int, length: int) -> bool:
        return records == self._max_records or length >= BYTES_PER_BATCH

    def _readable_records(self) -> Iterator[Numbered]:
        for number, record in self._records:
            if isinstance(record, FileError):
                self._unreadable = number, record
                return
            yield number, record

    def _import_batch(self, batch: list[Numbered], end: FilePosition) -> None:
        with self._sessions.begin() as session:
            now = clock.now(session)
        products, errors = self._validate(batch, now)
        imported, refused = self._write(products, now)
        errors |= refused
        for number, error in sorted(errors.items()):
            self._rejected.add(number, error)
        self._rejected.flush()
        self._progress = replace(
            self._progress,
            line=end.number,
            offset=end.offset,
            digest=end.digest(),
            last_name=products[max(imported)].name if imported else self._progress.last_name,
            rejects=self._rejected.path,
            rejected=self._rejected.length,
            counts=self._counts_with(imported, len(errors)),
        )

    def _counts_with(self, imported: Mapping[int, Imported], invalid: int) -> dict[str, int]:
        """The counts, with those of another batch added."""
        counts = self.counts
        counts.update(self._checkpoint.outcome(id_) or outcome for outcome, id_ in imported.values())
        counts["invalid"] += invalid
        return dict(counts)

    def _validate(self, batch: list[Numbered], now: datetime) -> tuple[dict[int, NewProduct], dict[int, RecordError]]:
        """The valid products of a batch, and the errors of the other records, by line."""
        results = {number: self._product_or_error(record, now) for number, record in batch}
        products, errors = _separated(results)
        names = {number: new.name for number, new in products.items()}
        for number, first in self._checkpoint.duplicates(names).items():
            del products[number]
            errors[number] = RecordError(f"line {first} has the same name")
        return products, errors

    def _product_or_error(self, record: dict[str, Any] | RecordError, now: datetime) -> NewProduct | RecordError:
        if isinstance(record, RecordError):
            return record
        try:
            return new_product(record, self._form, now)
        except RecordError as error:
            return error

    def _write(
        self, products: dict[int, NewProduct], now: datetime
    ) -> tuple[dict[int, Imported], dict[int, RecordError]]:
        """Write the products in one transaction. Returns the outcomes, and the errors of refused products, by line."""
        with self._sessions.begin() as session:
            results = import_batch(session, [*products.values()], now, update=self._update)
            imported, refused = _separated(dict(zip(products, results, strict=True)))
            self._checkpoint.announce(self._progress, _written(imported))
        return imported, refused


def _written(imported: Mapping[int, Imported]) -> Iterator[tuple[UUID, int, str]]:
    for number, (outcome, id_) in imported.items():
        if outcome in ("created", "changed"):
            yield id_, number, outcome


def _separated(
    results: Mapping[int, _Result | RecordError],
) -> tuple[dict[int, _Result], dict[int, RecordError]]:
    """The successful results, and the errors, by line."""
    values: dict[int, _Result] = {}
    errors: dict[int, RecordError] = {}
    for number, result in results.items():
        if isinstance(result, RecordError):
            errors[number] = result
        else:
            values[number] = result
    return values, errors
