"""`productagg sample`: fills an empty catalogue with products to try things with, their shops and their past."""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import click
from sqlalchemy.orm import Session

from productagg.catalog import products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.cli.bootstrap import CannotRun, config_uri, writing
from productagg.cli.files import opened
from productagg.cli.sample_shops import CURRENCY, SHOPS, Article
from productagg.db import clock
from productagg.db.models import OFFERS_SOURCE
from productagg.history.importing import import_
from productagg.history.lines import Line
from productagg.history.staging import Staged
from productagg.history.timeline import SECOND, microseconds
from productagg.offers.identity import offer_id
from productagg.sync import source_admin


class PastOffer(NamedTuple):
    """An offer of a sample product in the last year, as `python -m productagg.sandbox.past` writes it.

    `product` is the product's slug, `shop` the key of the shop in the sandbox (None: the Offers service), `id` the
    product's id in that shop. `states` are times (Unix seconds), prices (minor units) and items in stock.
    """

    product: str
    gtin: str
    shop: str | None
    id: str
    states: list[tuple[int, int, int]]

    @property
    def article(self) -> Article:
        """The product, as its shop knows it."""
        return Article(self.product, self.gtin, self.id)


@click.command()
@config_uri
@click.option(
    "--past",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="What 'python -m productagg.sandbox.past' writes: prices of the last year. '-' is standard input.",
)
@click.option(
    "--sandbox",
    "site",
    metavar="URL",
    help="The sandbox's root, like http://localhost:6544. Its shops become sources, and products have images there.",
)
def sample(config_uri: str, past: Path | None, site: str | None) -> None:
    """Fill an empty catalogue with sample products; leave any other catalogue alone."""
    if site and not past:
        raise click.UsageError("--sandbox needs --past")
    samples = json.loads(files("productagg").joinpath("sample_catalogue.json").read_text("utf-8"))
    with writing(config_uri) as (settings, sessions), sessions.begin() as session:
        if not products.is_empty(session):
            click.echo("sample: the catalogue has products already")
            return
        ids = create_many(session, [_new_product(site, **product) for product in samples])
        if past:
            product_ids = {product["sandbox"]["slug"]: id_ for product, id_ in zip(samples, ids, strict=True) if id_}
            # Without the sandbox, nothing would go on from the past of its shops.
            offers = [offer for offer in _read(past) if site or offer.shop is None]
            source_ids = _add_shops(session, offers, product_ids, site) if site else {}
            _import_past(session, offers, product_ids, source_ids, settings.offers_currency or settings.currency)
    click.echo(f"sample: {len(samples)} products added")


def _new_product(site: str | None, sandbox: Mapping[str, Any], **facts: Any) -> NewProduct:
    """A product to create. What the file says for the sandbox's shops is not for the catalogue."""
    return NewProduct(**facts, image_url=f"{site}/images/{sandbox['slug']}.svg" if site else None)


def _read(past: Path) -> list[PastOffer]:
    with opened(past) as file:
        try:
            offers = [PastOffer(**json.loads(line)) for line in file]
        except (ValueError, TypeError) as error:
            raise CannotRun(f"{past}: productagg.sandbox.past did not write this: {error}") from None
    if not offers:
        raise CannotRun(f"{past}: it is empty")
    return offers


def _add_shops(
    session: Session, offers: Iterable[PastOffer], product_ids: Mapping[str, UUID], site: str
) -> dict[str | None, UUID]:
    """Make the sandbox's shops sources, and link the products that they carry; returns the sources by shop."""
    source_ids: dict[str | None, UUID] = {
        key: source_admin.create(
            session,
            kind=shop.kind,
            name=shop.name,
            configuration=shop.configuration(site),
            interval_seconds=shop.interval_seconds,
        )
        for key, shop in SHOPS.items()
    }
    for offer in offers:
        if offer.shop is not None:
            locator = SHOPS[offer.shop].locator(site, offer.article)
            source_admin.link(session, product_ids[offer.product], source_ids[offer.shop], locator)
    return source_ids


def _import_past(
    session: Session,
    offers: Iterable[PastOffer],
    product_ids: Mapping[str, UUID],
    source_ids: Mapping[str | None, UUID],
    offers_currency: str,
) -> None:
    """Import the offers' states until now."""
    now = microseconds(clock.now(session))
    with Staged() as staged:
        # The products are new, so that their own histories begin now, and not with the day.
        staged.own_from.update(dict.fromkeys(product_ids.values(), now))
        by_offer = (_lines(offer, product_ids[offer.product], source_ids, offers_currency) for offer in offers)
        for number, line in enumerate(chain.from_iterable(by_offer)):
            if line.at < now:
                staged.add(number, line)
        import_(session, staged)


def _lines(
    offer: PastOffer, product_id: UUID, source_ids: Mapping[str | None, UUID], offers_currency: str
) -> Iterator[Line]:
    """The states as the source would have listed them: with the ids that its offers have now."""
    source_id, external_id, currency, tells_stock = OFFERS_SOURCE, offer.id, offers_currency, True
    if offer.shop is not None:
        shop = SHOPS[offer.shop]
        source_id, currency, tells_stock = source_ids[offer.shop], CURRENCY, shop.tells_stock
        external_id = shop.external_id(offer.article)
    id_ = offer_id(source_id, external_id, currency)
    for at, price, items in offer.states:
        yield Line(product_id, id_, at * SECOND, price, items if tells_stock or not items else None, currency)
