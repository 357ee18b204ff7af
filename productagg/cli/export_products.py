"""`productagg export`: writes the catalogue to a file, as CSV or NDJSON."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from productagg.catalog import import_export, products
from productagg.cli.bootstrap import CannotRun, config_uri, reading
from productagg.cli.files import STANDARD, format_of, format_option, written
from productagg.cli.progress import progress_bar
from productagg.cli.signals import Interrupted, InterruptOnSignal, ignore_signals
from productagg.db.engines import snapshot
from productagg.record_reader import Format

_PRODUCTS_PER_BATCH = 1000


@click.command(short_help="Write all products to a file.")
@config_uri
@click.argument(
    "file", metavar="[FILE]", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default=STANDARD
)
@format_option
def export(config_uri: str, file: Path, form: Format | None) -> None:
    """Write all products, as of one moment, as records that `import` reads.

    FILE is CSV with a header, or NDJSON, with the fields id, name, description, created_at, updated_at, gtin, brand,
    category, image_url. Without FILE, or with '-', the records go to standard output. FILE appears, or replaces an
    older one, when it is complete.

    Exit codes: 0 all products are written, 2 the export could not start or could not finish.
    """
    InterruptOnSignal()  # the default handler of SIGTERM would leave the incomplete file behind
    try:
        _export(config_uri, file, form or format_of(file))
    except Interrupted:
        ignore_signals()
        raise CannotRun("interrupted; the export is incomplete") from None


def _export(config_uri: str, file: Path, form: Format) -> None:
    with reading(config_uri) as (_, connection), snapshot(connection), written(file) as output:
        rows = products.all_products(connection)
        output.write(import_export.header(form))
        with progress_bar(" products", shown=file != STANDARD) as show_progress:
            total = products.count(connection) if show_progress is not None else 0
            for done, batch in _batches(rows):
                output.write(import_export.serialize(batch, form))
                if show_progress is not None:
                    show_progress(done, total)


def _batches(rows: Iterator[Row[Any]]) -> Iterator[tuple[int, list[Row[Any]]]]:
    """Batches of rows, with the number of all rows so far."""
    done = 0
    while batch := list(islice(rows, _PRODUCTS_PER_BATCH)):
        done += len(batch)
        yield done, batch
