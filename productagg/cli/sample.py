"""`productagg sample`: fills an empty catalogue with products to try things with."""

import json
from importlib.resources import files
from typing import Any

import click

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.cli.bootstrap import config_uri, writing


@click.command()
@config_uri
def sample(config_uri: str) -> None:
    """Fill an empty catalogue with sample products; leave any other catalogue alone."""
    samples = json.loads(files("productagg").joinpath("sample_catalogue.json").read_text("utf-8"))
    with writing(config_uri) as (_, sessions), sessions.begin() as session:
        if not products.is_empty(session):
            click.echo("sample: the catalogue has products already")
            return
        create_many(session, [_new_product(**product) for product in samples])
    click.echo(f"sample: {len(samples)} products added")


def _new_product(sandbox: object, **facts: Any) -> NewProduct:
    """A product to create. What the file says for the sandbox's shops is not for the catalogue."""
    return NewProduct(**facts)
