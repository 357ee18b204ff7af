"""The files that commands read and write: '-' for the standard ones, and the format, which the name's ending tells."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    help="The format, where the file's ending does not tell: .ndjson and .jsonl are NDJSON, all others are CSV.",
)


def format_of(path: Path) -> Format:
    return "ndjson" if path.suffix.lower() in (".ndjson", ".jsonl") else "csv"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file to read."""
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
    """What to write to. A file is there when it is whole; until then there is what was there before."""
    if path == STANDARD:
        if sys.stdout is None:
            raise CannotRun("standard output is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    if path.exists() and not path.is_file():
        part = path  # a device or a pipe, which nothing must take the place of
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            if part != path:
                os.fsync(file.fileno())
        if part != path:
            part.replace(path)
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None
    finally:
        if part != path:
            part.unlink(missing_ok=True)
