"""`productagg history export` and `import`: histories as CSV or NDJSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO
from uuid import UUID

import click

from productagg.catalog import products as catalog
from productagg.cli.bootstrap import CannotRun, config_uri, reading, writing
from productagg.cli.files import STANDARD, format_of, format_option, opened, written
from productagg.cli.progress import progress_bar
from productagg.db import clock
from productagg.history import lines
from productagg.history.exporting import export, history_snapshot
from productagg.history.importing import ImportRefused, import_
from productagg.history.lines import Line
from productagg.history.staging import BadFile, Staged, stage
from productagg.record_reader import Format, RecordError
from productagg.times import parse_record_time

_LINES_AT_ONCE = 1000


def _time(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    try:
        return parse_record_time(text) if text is not None else None
    except RecordError as bad:
        raise click.BadParameter(str(bad)) from None


@click.command(name="export")
@config_uri
@click.option(
    "--product", "products", metavar="ID", type=click.UUID, multiple=True, help="Only this product. May be repeated."
)
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    callback=_time,
    help="Start of the export. The state at this time comes first, dated at it.",
)
@click.option("--to", "end", metavar="TIME", callback=_time, help="End of the export, exclusive.")
@format_option
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=STANDARD,
    help="Write to this file instead of standard output.",
)
def export_prices(
    config_uri: str,
    products: Sequence[UUID],
    begin: datetime | None,
    end: datetime | None,
    form: Format | None,
    output: Path,
) -> None:
    """Write the price histories as lines that `import` takes.

    Exports uncompacted steps only: at least the last HISTORY_RAW_DAYS days.

    A line is an offer's price, in its currency, and items in stock from a time on; without items_in_stock it was in
    stock, and the number is not known. A line without an offer concerns the product: with nothing else, it was not
    observed from then on; with 0 items_in_stock it was observed again, and no offer had changed.
    """
    if begin and end and begin >= end:
        raise click.UsageError("--from must be before --to")
    form = form or format_of(output)
    with reading(config_uri) as (_, connection), history_snapshot(connection):
        unknown = catalog.missing_ids(connection, products)
        if unknown:
            raise CannotRun(f"there is no product {', '.join(map(str, unknown))}")
        with written(output) as file:
            _write(file, export(connection, products, begin, end), form)


def _write(file: IO[bytes], exported: Iterator[Line], form: Format) -> None:
    file.write(lines.header(form))
    while batch := list(islice(exported, _LINES_AT_ONCE)):
        file.write(lines.write(batch, form))


@click.command(name="import")
@config_uri
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--replace", is_flag=True, help="Replace earlier imports of the products in this file.")
@format_option
def import_prices(config_uri: str, file: Path, replace: bool, form: Format | None) -> None:
    """Import prices that were collected elsewhere, from before a product was created here.

    FILE is CSV with a header, or NDJSON, with the fields product_id, offer_id, at, price, items_in_stock and, if you
    like, currency; '-' is standard input. Lines may come in any order. A line is an offer's state from a time on, until
    the offer's next line: 0 items_in_stock says that it is sold out, none that it is in stock and the number is not
    known. A price without a currency is in the catalogue's. A line without offer_id, price and items_in_stock means
    that the product was not observed from then on; end your data with one. Times are before the UTC day on which the
    product was created. The file is checked as a whole; if anything is wrong with it, nothing is imported.

    Exit codes: 0 everything was imported, 2 nothing was.
    """
    form = form or format_of(file)
    with writing(config_uri) as (_, sessions), Staged() as staged:
        try:
            with sessions.begin() as session:
                now = clock.now(session)
            with opened(file) as content:
                stage(staged, lines.read(content, form), sessions, now)
            with progress_bar(" lines") as progress, sessions.begin() as session:
                import_(session, staged, replace=replace, progress=progress)
        except BadFile as bad:
            _report(file, bad)
            raise CannotRun("nothing was imported") from None
        except ImportRefused as refused:
            raise CannotRun(f"{refused}; nothing was imported") from None
        products = staged.products()
    click.echo(f"import: {sum(product.lines for product in products)} lines of {len(products)} products imported")


def _report(file: Path, bad: BadFile) -> None:
    for number, reason in bad.lines:
        click.echo(f"{file}:{number}: {reason}", err=True)
    if bad.more:
        click.echo(f"and {bad.more} more", err=True)
