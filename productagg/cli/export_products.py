"""`productagg export`: the catalogue as CSV or NDJSON, to take along."""

import signal
from itertools import islice
from pathlib import Path
from typing import NoReturn

import click

from productagg.catalog import import_export
from productagg.catalog import products as catalog
from productagg.cli.bootstrap import config_uri, reading
from productagg.cli.files import STANDARD, format_of, format_option, written
from productagg.cli.progress import progress_bar
from productagg.db.engines import snapshot
from productagg.record_reader import Format

_PRODUCTS_AT_ONCE = 1000


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(2)


@click.command(short_help="Write all products to a file.")
@config_uri
@click.argument(
    "file", metavar="[FILE]", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default=STANDARD
)
@format_option
def export(config_uri: str, file: Path, form: Format | None) -> None:
    """Write all products, as of one moment, as records that `import` takes.

    FILE is CSV with a header, or NDJSON, with the fields id, name, description, created_at, updated_at; without it, or
    with '-', they go to standard output. A file is there when it is whole; until then there is what was there before.

    Exit codes: 0 all is written, 2 it could not run, or not to its end.
    """
    signal.signal(signal.SIGTERM, _terminated)  # or what is written so far would stay
    form = form or format_of(file)
    with reading(config_uri) as (_, connection), snapshot(connection), written(file) as output:
        found = catalog.everything(connection)
        output.write(import_export.header(form))
        with progress_bar(" products", wanted=file != STANDARD) as progress:
            total = catalog.count(connection) if progress is not None else 0
            done = 0
            while batch := list(islice(found, _PRODUCTS_AT_ONCE)):
                output.write(import_export.write(batch, form))
                done += len(batch)
                if progress is not None:
                    progress(done, total)
