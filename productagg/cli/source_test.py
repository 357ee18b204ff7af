"""`productagg source test`: asks a source once, and prints what was understood. Apart, because it speaks HTTP."""

from collections.abc import Iterator, Sequence

import click

from productagg.cli.bootstrap import config_uri, reading
from productagg.cli.output import printable
from productagg.cli.source import refusing
from productagg.sources.base import Remark, SourceOffer
from productagg.sync.source_admin import find
from productagg.sync.source_test import SourceReport, SourceTester


@click.command(short_help="Ask a source once, and show what was understood.")
@config_uri
@click.argument("name")
@click.argument("locator", required=False)
def test(config_uri: str, name: str, locator: str | None) -> None:
    """Ask a source now, and print what was understood. Changes nothing.

    LOCATOR says which product to ask for; for a document it may be left out. Prices are in minor units.

    Exit codes: 0 the answer is complete, 1 it failed or may not be complete, 2 the command could not run.
    """
    with refusing(), reading(config_uri) as (settings, connection):
        source = find(connection, name)
        tester = SourceTester(
            contact_url=settings.public_url, allow_private_networks=settings.sources_allow_private_networks
        )
        result = tester.test(source, locator)
    for line in _lines(result):
        click.echo(printable(line))
    raise SystemExit(0 if result.outcome in ("complete", "not_modified") else 1)


def _lines(result: SourceReport) -> Iterator[str]:
    counts = f"{result.offer_count} offers, {result.rejected_count} items rejected, {result.remark_count} remarks"
    reason = "" if result.reason is None else f": {result.reason}"
    yield f"{result.outcome.replace('_', ' ')}{reason} ({counts}, in {result.duration_seconds:.2f} s)"
    for offer in result.offers:
        yield f"  {_offer(offer)}"
    yield from _more(result.offer_count, result.offers)
    yield from _remarks("rejected", result.rejected_count, result.rejected)
    yield from _remarks("remark", result.remark_count, result.remarks)


def _offer(offer: SourceOffer) -> str:
    facts = (
        f"{offer.price} {offer.currency}",
        None if offer.shipping is None else f"shipping {offer.shipping}",
        offer.availability,
        None if offer.items_in_stock is None else f"{offer.items_in_stock} items",
        offer.condition,
        offer.seller,
        offer.url,
    )
    return f"{offer.locator} {offer.external_id}: " + ", ".join(fact for fact in facts if fact is not None)


def _remarks(word: str, count: int, remarks: Sequence[Remark]) -> Iterator[str]:
    for remark in remarks:
        yield f"  {word}: {remark.item}: {remark.reason}"
    yield from _more(count, remarks)


def _more(count: int, shown: Sequence[object]) -> Iterator[str]:
    if count > len(shown):
        yield f"  and {count - len(shown)} more"
