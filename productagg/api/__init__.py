"""The JSON API. Views are thin: validated values in, one call to a domain room, plain values out."""

from functools import cache
from typing import Any

from cornice.pyramidhook import register_service_views
from cornice.util import ContentTypePredicate

from productagg.api.core.cursors import Cursors
from productagg.api.core.service import ContractService, dumps
from productagg.api.openapi.document import document
from productagg.api.views import (
    changes,
    docs,
    health,
    login,
    movers,
    offers,
    openapi,
    prices,
    problems,
    products,
    products_batch,
    sync_runs,
)

SERVICES: tuple[ContractService, ...] = (
    products.products,
    products.partial_products,  # before the path that would take 'partial' for an id, as it would 'batch'
    products_batch.products_batch,
    products.product,
    offers.product_offers,
    offers.offers_cost,
    prices.product_prices,
    prices.product_prices_csv,
    prices.offer_prices,
    prices.offer_prices_csv,
    prices.product_trend,
    prices.product_verdict,
    movers.catalogue_movers,
    changes.feed,
    sync_runs.sync_runs,
    sync_runs.sync_run,
    login.login,
    health.live,
    health.ready,
    problems.problem,
    openapi.description,
    docs.front,
    docs.docs,
    docs.docs_file,
)


def includeme(config: Any) -> None:
    # Not `config.include("cornice")`: it looks after each request and answer for what there is none of, as filters, and
    # answers exceptions in a format of its own.
    config.registry.cornice_services = {}
    config.add_directive("add_cornice_service", register_service_views)
    config.add_view_predicate("content_type", ContentTypePredicate)
    config.include("productagg.api.core.tweens")
    config.include("productagg.api.core.idempotency")
    config.include("productagg.api.core.errors")
    config.add_renderer("json", lambda _info: _render)
    for service in SERVICES:
        config.add_cornice_service(service)
    config.registry["cursors"] = Cursors(config.registry["settings"].jwt_secret)
    config.registry["openapi"] = _contract


@cache
def _contract() -> bytes:
    """The document, the same for all applications of a process. Not at start-up: it takes longer than most of that."""
    return dumps(document(SERVICES))


def _render(value: object, system: Any) -> bytes:
    system["request"].response.content_type = "application/json"
    return dumps(value)
