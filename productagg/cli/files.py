"""The files that commands read and write: '-' for standard input and output, and the format, from the name's ending."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, get_args

import click

from productagg.cli.bootstrap import CannotRun
from productagg.record_reader import Format

STANDARD = Path("-")

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(get_args(Format)),
    help="The format. Without this option the ending of the file's name decides: .ndjson and .jsonl are NDJSON, all "
    "others are CSV.",
)


def format_of(path: Path) -> Format:
    return "ndjson" if path.suffix.lower() in (".ndjson", ".jsonl") else "csv"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, or standard input, to read."""
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None
    with file:
        yield file


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """The file, or standard output, to write. A file replaces an older one when it is complete."""
    try:
        with _output(path) as file:
            yield file
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None


def _output(path: Path) -> AbstractContextManager[IO[bytes]]:
    if path == STANDARD:
        return _standard_output()
    is_special = path.exists() and not path.is_file()  # a device or a pipe, which must not be replaced
    return path.open("wb") if is_special else _replacing(path)


@contextmanager
def _standard_output() -> Iterator[IO[bytes]]:
    if sys.stdout is None:
        raise CannotRun("standard output is closed")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside the path, which replaces the file there at the end."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
