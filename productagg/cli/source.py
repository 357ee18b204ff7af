"""`productagg source`: the sources of offers. Commands that ask one have modules of their own: they import more."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import orjson
from sqlalchemy.orm import Session

from productagg import strict_json
from productagg.catalog import products
from productagg.cli.bootstrap import CannotRun, config_uri, reading, writing
from productagg.cli.lazy import LazyGroup
from productagg.cli.output import printable
from productagg.settings import Settings
from productagg.sources import registry
from productagg.sync import source_admin
from productagg.sync.schedule import Schedule
from productagg.sync.source_admin import SourceStatus

_LAZY = {
    "test": "productagg.cli.source_test:test",
    "sync": "productagg.cli.source_sync:sync",
}


@click.group(cls=LazyGroup, lazy=_LAZY)
def source() -> None:
    """Add, change and list the sources of offers, link products to them, test and sync them."""


@contextmanager
def refusing() -> Iterator[None]:
    """End the command with one line and exit code 1 if what it was asked to do cannot be done."""
    try:
        yield
    except source_admin.SourceNotFound as error:
        raise click.ClickException(f"there is no source {str(error)!r}") from None
    except source_admin.NameTaken as error:
        raise click.ClickException(f"there is a source {str(error)!r} already") from None
    except source_admin.NotLinked:
        raise click.ClickException("the product does not have this source") from None
    except source_admin.FromSettings:
        raise click.ClickException("the Offers service comes from the settings: see OFFERS_BASE_URL") from None
    except products.NotFound as error:
        raise click.ClickException(f"there is no product {error}") from None
    except source_admin.InvalidLocator as error:
        raise click.ClickException(f"locator: {error}") from None
    except (source_admin.InvalidSource, registry.InvalidConfiguration, registry.AdapterError) as error:
        raise click.ClickException(printable(str(error))) from None


@contextmanager
def _changing(uri: str) -> Iterator[tuple[Settings, Session]]:
    with refusing(), writing(uri) as (settings, sessions), sessions.begin() as session:
        yield settings, session


def _configuration(_context: click.Context, _option: click.Parameter, value: str) -> Mapping[str, Any]:
    """The JSON object that an option is, or that stands in the file it names."""
    try:
        configuration = strict_json.loads(_text(value))
    except OSError as error:
        raise CannotRun(f"{value[1:]}: {error.strerror}") from None
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}") from None
    if not isinstance(configuration, dict):
        raise click.BadParameter("must be a JSON object")
    return configuration


def _text(value: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    return Path(value[1:]).read_bytes() if value.startswith("@") else value.encode()


@source.command()
@config_uri
@click.argument("kind")
@click.argument("name")
@click.option(
    "--configuration",
    callback=_configuration,
    metavar="JSON|@FILE|-",
    required=True,
    help="The configuration, a JSON object, without secrets; @FILE and - read it from a file or standard input.",
)
@click.option("--secret-variable", metavar="NAME", help="The environment variable that holds the source's secret.")
@click.option("--interval", type=int, metavar="SECONDS", help="How often to fetch, instead of SYNC_INTERVAL_SECONDS.")
@click.option("--requests-per-second", type=float, metavar="NUMBER", help="The most requests a second.")
@click.option("--creates-products", is_flag=True, help="Make products of a document's items that belong to none.")
@click.option("--disabled", is_flag=True, help="Do not sync it before `source enable`.")
def add(
    config_uri: str,
    kind: str,
    name: str,
    configuration: Mapping[str, Any],
    secret_variable: str | None,
    interval: int | None,
    requests_per_second: float | None,
    creates_products: bool,
    disabled: bool,
) -> None:
    """Add a source. `source kinds` lists the kinds; docs/sources.md has their configurations."""
    with _changing(config_uri) as (_, session):
        source_admin.create(
            session,
            kind=kind,
            name=name,
            configuration=configuration,
            secret_variable=secret_variable,
            interval_seconds=interval,
            requests_per_second=requests_per_second,
            creates_products=creates_products,
            enabled=not disabled,
        )
    click.echo(f"source {name!r} has been added{', disabled' if disabled else ''}")


@source.command(name="list")
@config_uri
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, for machines.")
def list_sources(config_uri: str, as_json: bool) -> None:
    """List the sources: name, kind, whether disabled, products, open offers, and what fails."""
    with reading(config_uri) as (_, connection):
        sources = source_admin.listing(connection)
    if as_json:
        click.echo(orjson.dumps(sources, option=orjson.OPT_UTC_Z))
        return
    for each in sources:
        click.echo(printable(_line(each)))


def _line(source: SourceStatus) -> str:
    """Fields with tabs between; what fails comes last."""
    fields = [
        source.name,
        source.kind,
        "active" if source.enabled else "disabled",
        f"{source.products} products",
        f"{source.open_offers} offers",
    ]
    if source.failing_products:
        fields.append(f"{source.failing_products} failing")
    if source.last_error is not None:
        fields.append(source.last_error)
    return "\t".join(fields)


@source.command()
@config_uri
@click.argument("name")
def enable(config_uri: str, name: str) -> None:
    """Sync a disabled source again."""
    _set_enabled(config_uri, name, enabled=True)


@source.command()
@config_uri
@click.argument("name")
def disable(config_uri: str, name: str) -> None:
    """Sync a source no longer; its offers stay as they are."""
    _set_enabled(config_uri, name, enabled=False)


def _set_enabled(uri: str, name: str, *, enabled: bool) -> None:
    with _changing(uri) as (_, session):
        source_admin.change(session, source_admin.find(session, name).id, enabled=enabled)
    click.echo(f"source {name!r} has been {'enabled' if enabled else 'disabled'}")


@source.command()
@config_uri
@click.argument("product_id", type=click.UUID)
@click.argument("name")
@click.argument("locator")
def link(config_uri: str, product_id: UUID, name: str, locator: str) -> None:
    """Make a source one of a product's. LOCATOR says which of the source's products it is: see `source kinds`."""
    with _changing(config_uri) as (_, session):
        source_admin.link(session, product_id, source_admin.find(session, name).id, locator)
    click.echo(f"product {product_id} has the source {name!r}")


@source.command()
@config_uri
@click.argument("product_id", type=click.UUID)
@click.argument("name")
def unlink(config_uri: str, product_id: UUID, name: str) -> None:
    """Take a source from a product, and close its offers there."""
    with _changing(config_uri) as (settings, session):
        source_id = source_admin.find(session, name).id
        source_admin.unlink(session, product_id, source_id, Schedule.of(settings).observed_for)
    click.echo(f"product {product_id} no longer has the source {name!r}")


@source.command()
def kinds() -> None:
    """List the kinds of sources that are installed, and what a product's locator is for each."""
    for kind in registry.kinds():
        click.echo(printable(f"{kind}\t{_described(kind)}"))


def _described(kind: str) -> str:
    try:
        adapter = registry.load(kind)
    except registry.AdapterError as error:
        return f"unusable: {error}"
    reads = "a document with many products" if adapter.whole_document else "one product at a time"
    return f"{adapter.title}\t{reads}\tlocator: {adapter.locator}"
