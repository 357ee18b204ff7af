"""`productagg import`: products from CSV or NDJSON, a batch at a time, so that passes and the web go on meanwhile."""

import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn
from uuid import UUID

import click
from sqlalchemy import URL
from sqlalchemy.orm import Session, sessionmaker

from productagg import record_reader
from productagg.catalog import products as catalog
from productagg.catalog.import_export import FIELDS, OPTIONAL, bring_in
from productagg.catalog.product_schema import NEW_PRODUCT, uuid, validate
from productagg.catalog.products import NewProduct
from productagg.cli.bootstrap import CannotRun, config_uri, writing
from productagg.cli.checkpoint import Position, Remembered
from productagg.cli.files import format_of, format_option, opened
from productagg.cli.progress import progress_bar
from productagg.db import clock
from productagg.db.engines import is_out_of_reach
from productagg.history.lines import parse_time
from productagg.record_reader import Bad, Broken, Format, Place, shown

log = logging.getLogger(__name__)

# What one transaction is about: few enough that whoever else wants to write does not wait for long.
_RECORDS_AT_ONCE = 1000
_UPDATES_AT_ONCE = 100  # each takes statements of its own
_BYTES_AT_ONCE = 1 << 20
_BATCHES_UNREMEMBERED = 50
_LONGEST = 200_000  # of a record, in bytes: those of the longest description, each character escaped
_MOST_SHOWN = 50
_AGAIN = "run it again, and it passes over what is there"


class _Interrupted(BaseException):
    """SIGTERM or Ctrl-C, wherever it finds us."""


class _Signals:
    """They interrupt the import wherever they find it. Python drops what is raised in a finalizer: hence `check`."""

    def __init__(self) -> None:
        self._told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> NoReturn:
        self._told = True
        raise _Interrupted

    def check(self) -> None:
        """Raises _Interrupted if a signal came."""
        if self._told:
            raise _Interrupted


def _see_it_through() -> None:
    """It is ending already: from now on, nothing interrupts it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@click.command(name="import", short_help="Add products from a file.")
@config_uri
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--update", is_flag=True, help="Give products that are there the descriptions that they have in the file."
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Write here what is wrong with which line, instead of the first {_MOST_SHOWN} on standard error.",
)
@format_option
def import_(config_uri: str, file: Path, update: bool, rejects: Path | None, form: Format | None) -> None:
    """Add the products of a file to the catalogue. They are due for registration at once.

    FILE is CSV with a header, or NDJSON, with the fields name and description and, if you like, id, created_at and
    updated_at, as `export` writes them; '-' is standard input. What is there already is left alone. What will not do
    is told by the number of its line; all else is imported.

    It may be interrupted at any time and run again; FILE.resume, beside the file, says where it goes on. Passes and
    the web service go on meanwhile. On a terminal, a bar shows the progress.

    Exit codes: 0 all lines are good, 1 some are bad, 2 it could not run, or not to its end.
    """
    signals = _Signals()
    try:
        _import(config_uri, file, update, rejects, form, signals)
    except _Interrupted:
        _see_it_through()
        raise CannotRun(f"interrupted; {_AGAIN}") from None


def _import(
    config_uri: str, file: Path, update: bool, rejects: Path | None, form: Format | None, signals: _Signals
) -> None:
    if rejects and rejects.exists() and file.exists() and rejects.samefile(file):
        raise click.UsageError("--rejects is the file itself")
    target = f"{form or format_of(file)}{' --update' if update else ''}"
    with writing(config_uri) as (settings, sessions), opened(file) as content, Remembered(file) as remembered:
        begin = _beginning(content, remembered, sessions, f"{_name(settings.database_url)} {target}")
        with _Complaints(file, rejects, begin) as complaints:
            run = _Import(content, form or format_of(file), begin, remembered, sessions, update, complaints, signals)
            try:
                with progress_bar(" lines") as progress:
                    run.run(progress)
            except _Interrupted:
                _see_it_through()
                run.keep()
                raise CannotRun(f"interrupted; {run.advice}") from None
            except Exception as error:
                _see_it_through()
                with suppress(CannotRun):  # the first reason counts
                    run.keep()
                click.echo(f"import: {run.advice}", err=True)
                if isinstance(error, click.ClickException) or is_out_of_reach(error):
                    raise
                log.exception("the import crashed")
                raise SystemExit(2) from None
        if run.broken_from:
            run.keep()
            raise CannotRun(f"nothing from line {run.broken_from} on is imported: mend the file, then {run.advice}")
        remembered.remove()
    click.echo(f"import: {_summary(run.counts)}")
    if run.counts["bad"]:
        raise SystemExit(1)


class _Import:
    """One import. From line `broken_from` on, nothing could be read."""

    def __init__(
        self,
        content: IO[bytes],
        form: Format,
        begin: Position,
        remembered: Remembered,
        sessions: sessionmaker[Session],
        update: bool,
        complaints: "_Complaints",
        signals: _Signals,
    ) -> None:
        self.broken_from: int | None = None
        self._position = begin
        self._form = form
        self._most = _UPDATES_AT_ONCE if update else _RECORDS_AT_ONCE
        self._remembered = remembered
        self._sessions = sessions
        self._update = update
        self._complaints = complaints
        self._signals = signals
        self._lines = record_reader.Lines(content, _LONGEST)
        after = (begin.line, begin.offset)
        self._records = record_reader.read(self._lines, form, FIELDS, OPTIONAL, over_lines=True, after=after)
        self._size = os.fstat(content.fileno()).st_size if remembered.path else 0

    @property
    def counts(self) -> Counter[str]:
        """What became of the records."""
        return Counter(self._position.counts)

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        for number, (batch, place) in enumerate(self._batches(), 1):
            self._bring_in(batch, place)
            if number % _BATCHES_UNREMEMBERED == 0:
                self.keep()
            if progress is not None:
                progress(self._lines.number, self._size * self._lines.number // self._lines.offset)

    def keep(self) -> None:
        """Remember where to go on."""
        if self._position.line:
            self._complaints.keep()
            self._remembered.keep(self._position)
        elif self._remembered.position is None:  # nothing was written
            self._remembered.remove()

    @property
    def advice(self) -> str:
        """What to do after the import ended early."""
        kept = self._remembered.position
        if self._remembered.path and kept is not None and kept.line:
            return f"run it again, and it goes on after line {kept.line}"
        return _AGAIN

    def _batches(self) -> Iterator[tuple[list[tuple[int, dict[str, Any] | Bad]], Place]]:
        """Records, and where they end."""
        batch: list[tuple[int, dict[str, Any] | Bad]] = []
        begin, place = self._lines.offset, self._lines.place()
        for record in self._records:
            if isinstance(record[1], Broken):
                break
            batch.append(record)
            place = self._lines.place()
            if len(batch) == self._most or place.offset - begin >= _BYTES_AT_ONCE:
                yield batch, place
                batch, begin = [], place.offset
            self._signals.check()  # the next line may not come for hours
        else:
            record = None
        if batch:
            yield batch, place
        if record is not None:
            self.broken_from, reason = record
            self._complaints.add(self.broken_from, reason)
            self._complaints.flush()

    def _bring_in(self, batch: list[tuple[int, dict[str, Any] | Bad]], place: Place) -> None:
        with self._sessions.begin() as session:
            now = clock.now(session)
        products: dict[int, NewProduct] = {}
        bad: dict[int, object] = {}
        for number, values in batch:
            if isinstance(values, Bad):
                bad[number] = values
                continue
            try:
                products[number] = _product(values, self._form, now)
            except Bad as why:
                bad[number] = str(why)
        for number, first in self._remembered.repeated({each: new.name for each, new in products.items()}).items():
            del products[number]
            bad[number] = f"line {first} has this name, too"
        with self._sessions.begin() as session:
            outcomes = dict(
                zip(products, bring_in(session, [*products.values()], now, update=self._update), strict=True)
            )
            done = {number: outcome for number, outcome in outcomes.items() if not isinstance(outcome, Bad)}
            written = [(id_, number, what) for number, (what, id_) in done.items() if what in ("created", "changed")]
            self._remembered.expect(self._position, written)
        counts = self.counts
        for what, id_ in done.values():
            counts[self._remembered.outcome(id_) or what] += 1
        bad |= {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, Bad)}
        for number, reason in sorted(bad.items()):
            self._complaints.add(number, reason)
        self._complaints.flush()
        counts["bad"] += len(bad)
        self._position = replace(
            self._position,
            line=place.number,
            offset=place.offset,
            digest=place.digest(),
            there=products[max(done)].name if done else self._position.there,
            rejects=self._complaints.path,
            rejected=self._complaints.length,
            counts=dict(counts),
        )


class _Complaints(AbstractContextManager["_Complaints"]):
    """What is wrong with which line: all of it in a file, or the first ones on standard error."""

    def __init__(self, file: Path, rejects: Path | None, begin: Position) -> None:
        self.path = str(rejects.absolute()) if rejects else None
        self.length = 0
        self._name = rejects
        self._file = file
        self._left = _MOST_SHOWN
        again = begin.line > 0 and begin.rejects == self.path
        with self._explained():
            self._rejects = rejects.open("ab" if again else "wb") if rejects else None
            self._regular = rejects is not None and rejects.is_file()
            if self._rejects and self._regular and again:
                # What was written after the position was kept is told again.
                self.length = min(begin.rejected, self._rejects.tell())
                self._rejects.truncate(self.length)

    def add(self, number: int, reason: object) -> None:
        line = f"{self._file}:{number}: {reason}\n"
        if self._rejects:
            with self._explained():
                self.length += self._rejects.write(line.encode(errors="replace"))
            return
        if self._left > 0:
            sys.stderr.write(line)
        self._left -= 1

    def flush(self) -> None:
        """Have what was added in the file."""
        if self._rejects:
            with self._explained():
                self._rejects.flush()

    def keep(self) -> None:
        """Have the file on disk: the position that is kept next is after all that it tells."""
        if self._rejects and self._regular:
            with self._explained():
                os.fsync(self._rejects.fileno())

    def __exit__(self, *_: object) -> None:
        if self._rejects:
            with suppress(OSError):  # what could not be written before cannot be written now
                self._rejects.close()
        if self._left < 0:
            click.echo(f"and {-self._left} more: --rejects writes them all to a file", err=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotRun(f"{self._name}: {error.strerror}") from None


def _beginning(content: IO[bytes], remembered: Remembered, sessions: sessionmaker[Session], target: str) -> Position:
    """Where an import of this very file into this database was interrupted, or the beginning."""
    found = remembered.position
    if found is None:
        return Position(target)
    if found.line == 0 and found.target == target:
        return found
    reason = _objection(found, content, sessions, target)
    if reason is None:
        click.echo(f"import: going on after line {found.line}", err=True)
        return found
    click.echo(f"import: from the beginning, not after line {found.line}: {reason}", err=True)
    remembered.begin_again()
    return Position(target)


def _objection(found: Position, content: IO[bytes], sessions: sessionmaker[Session], target: str) -> str | None:
    if found.target != target:
        return "that was for another database, or with other options"
    before = record_reader.Lines(content, _LONGEST)
    before.skip_to(found.line, found.offset)
    content.seek(0)
    if before.digest() != found.digest:
        return "the file has changed before that"
    if found.there is not None:
        with sessions.begin() as session:
            if catalog.standings(session, [NewProduct(found.there, "")])[0].id is None:
                return f"there is no product {shown(found.there)} any more"
    return None


def _product(values: dict[str, Any], form: Format, now: datetime) -> NewProduct:
    """The valid product of a record. Raises Bad."""
    ours = {name: values.pop(name, None) for name in OPTIONAL}
    if form == "csv":
        ours = {name: text or None for name, text in ours.items()}
    valid, faults = validate(NEW_PRODUCT, values)
    if faults:
        raise Bad("; ".join(f"{name} {fault}" for name, fault in faults.items()))
    id_ = _id(ours["id"])
    created_at, updated_at = (_time(name, ours[name], now) for name in ("created_at", "updated_at"))
    if updated_at is not None and updated_at < (created_at or now):
        raise Bad(f"updated_at is before {'created_at' if created_at else 'now, and there is no created_at'}")
    return NewProduct(valid["name"], valid["description"], id_, created_at, updated_at)


def _id(value: object) -> UUID | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return uuid(value)
    except ValueError:
        pass
    raise Bad(f"id {shown(value)} is not a UUID")


def _time(name: str, value: object, now: datetime) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Bad(f"{name} is not a time like 2026-01-31T12:00:00Z")
    time = parse_time(value)
    if time > now:
        raise Bad(f"{name} {value} is in the future")
    return time


def _name(database: URL) -> str:
    """Which database it is, without any secret."""
    if database.get_backend_name() == "sqlite":
        return str(Path(database.database or "").absolute())
    return f"{database.host}:{database.port}/{database.database}"


def _summary(counts: Mapping[str, int]) -> str:
    different = counts["different"]
    note = f" ({different} of them with another description: --update takes the file's)" if different else ""
    there = f"{counts['there'] + different} there already{note}"
    return f"{counts['created']} products created, {there}, {counts['changed']} changed, {counts['bad']} lines bad"
