"""`productagg import`: adds products from CSV or NDJSON, in batches, so that it never blocks other writers for long."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import click
from sqlalchemy import URL
from sqlalchemy.orm import Session, sessionmaker

from productagg.catalog.batch_creation import NewProduct
from productagg.catalog.matching import existing_matches
from productagg.cli.bootstrap import CannotRun, config_uri, writing
from productagg.cli.checkpoint import Checkpoint, Progress
from productagg.cli.files import format_of, format_option, opened
from productagg.cli.import_rejects import MAX_SHOWN, RejectedLines
from productagg.cli.import_run import MAX_RECORD_LENGTH, RUN_AGAIN, ImportRun
from productagg.cli.progress import progress_bar
from productagg.cli.signals import Interrupted, InterruptOnSignal, ignore_signals
from productagg.db.errors import is_unavailable
from productagg.record_reader import Format, LineReader, excerpt

log = logging.getLogger(__name__)


@click.command(name="import", short_help="Add products from a file.")
@config_uri
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--update", is_flag=True, help="Give existing products the values that they have in the file.")
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Write all invalid lines and the reasons here, instead of the first {MAX_SHOWN} to standard error.",
)
@format_option
def import_(config_uri: str, file: Path, update: bool, rejects: Path | None, form: Format | None) -> None:
    """Add the products of a file to the catalogue. They are due for registration at once.

    FILE is CSV with a header, or NDJSON, with the fields name and description and optionally id, created_at,
    updated_at, gtin, brand, category and image_url, as `export` writes them; '-' is standard input. Existing products
    are left alone. Invalid lines are reported with their numbers, and all other lines are imported.

    You can interrupt the import at any time and run it again: FILE.resume, beside the file, says where it continues.
    Syncs and the web service keep running meanwhile. On a terminal, a bar shows the progress.

    Exit codes: 0 all lines are valid, 1 some lines are invalid, 2 the import could not start or could not finish.
    """
    signals = InterruptOnSignal()
    form = form or format_of(file)
    try:
        counts = _import(config_uri, file, rejects, form, signals, update=update)
    except Interrupted:
        ignore_signals()
        raise CannotRun(f"interrupted; {RUN_AGAIN}") from None
    click.echo(f"import: {_summary(counts)}")
    if counts["invalid"]:
        raise SystemExit(1)


def _import(
    config_uri: str, file: Path, rejects: Path | None, form: Format, signals: InterruptOnSignal, *, update: bool
) -> Mapping[str, int]:
    """Import the file; returns the counts of the outcomes."""
    if rejects and _is_same_file(rejects, file):
        raise click.UsageError("--rejects must not be the imported file")
    with writing(config_uri) as (settings, sessions), opened(file) as content, Checkpoint(file) as checkpoint:
        target = f"{_name(settings.database_url)} {form}{' --update' if update else ''}"
        start = starting_point(content, checkpoint, sessions, target)
        with RejectedLines(file, rejects, start) as rejected:
            run = ImportRun(content, form, start, checkpoint, sessions, rejected, signals, update=update)
            _run(run)
        _check_complete(run)
        checkpoint.remove()
    return run.counts


def _check_complete(run: ImportRun) -> None:
    if run.unreadable_from:
        run.save()
        line = run.unreadable_from
        raise CannotRun(f"nothing was imported from line {line} on: correct the file, then {run.advice}")


def _is_same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _run(run: ImportRun) -> None:
    """Run the import; if it ends early, save where to continue."""
    try:
        with progress_bar(" lines") as show_progress:
            run.run(show_progress)
    except Interrupted:
        ignore_signals()
        run.save()
        raise CannotRun(f"interrupted; {run.advice}") from None
    except Exception as error:
        ignore_signals()
        with suppress(CannotRun):  # report the first error, not this one
            run.save()
        click.echo(f"import: {run.advice}", err=True)
        if isinstance(error, click.ClickException) or is_unavailable(error):
            raise
        log.exception("the import crashed")
        raise SystemExit(2) from None


def starting_point(
    content: IO[bytes], checkpoint: Checkpoint, sessions: sessionmaker[Session], target: str
) -> Progress:
    """Where an earlier import of the same file into the same database was interrupted, or the beginning."""
    progress = checkpoint.progress
    if progress is None:
        return Progress(target)
    if progress.line == 0 and progress.target == target:
        return progress
    reason = _why_outdated(progress, content, sessions, target)
    if reason is None:
        click.echo(f"import: continuing after line {progress.line}", err=True)
        return progress
    click.echo(f"import: starting from the beginning, not after line {progress.line}: {reason}", err=True)
    checkpoint.reset()
    return Progress(target)


def _why_outdated(progress: Progress, content: IO[bytes], sessions: sessionmaker[Session], target: str) -> str | None:
    """Why the import cannot continue there; None if it can."""
    if progress.target != target:
        return "the interrupted import was into another database, or with other options"
    if _digest_until(progress, content) != progress.digest:
        return "the file has changed before this line"
    if progress.last_name is not None and not _exists(progress.last_name, sessions):
        return f"the product {excerpt(progress.last_name)} no longer exists"
    return None


def _digest_until(progress: Progress, content: IO[bytes]) -> str:
    """The digest of the lines that are done."""
    done = LineReader(content, MAX_RECORD_LENGTH)
    done.skip_to(progress.line, progress.offset)
    content.seek(0)
    return done.digest()


def _exists(name: str, sessions: sessionmaker[Session]) -> bool:
    with sessions.begin() as session:
        [match] = existing_matches(session, [NewProduct(name, "")])
    return match.id is not None


def _name(database: URL) -> str:
    """The name of a database, without any secret."""
    if database.get_backend_name() == "sqlite":
        return str(Path(database.database or "").absolute())
    return f"{database.host}:{database.port}/{database.database}"


def _summary(counts: Mapping[str, int]) -> str:
    different = counts["different"]
    note = f" ({different} of them with other values: --update takes the file's)" if different else ""
    existing = f"{counts['existing'] + different} existed already{note}"
    created, changed, invalid = counts["created"], counts["changed"], counts["invalid"]
    return f"{created} products created, {existing}, {changed} changed, {invalid} invalid lines"
