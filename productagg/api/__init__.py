"""The JSON API: the endpoints in `views`, what they are built with in `core`, their description in `openapi`."""

from functools import cache

from cornice.pyramidhook import register_service_views
from pyramid.config import Configurator

from productagg.api.core.responses import dumps
from productagg.api.core.service import ContractService
from productagg.api.openapi.document import document
from productagg.api.views import (
    changes,
    corrections,
    docs,
    health,
    login,
    movers,
    offers,
    openapi,
    prices,
    problems,
    product_sources,
    products,
    products_batch,
    quarantine,
    sources,
    sync_runs,
    unmatched_items,
)

SERVICES: tuple[ContractService, ...] = (
    products.products,
    products.partial_products,  # before /products/{id}, which would take 'partial' for an id; 'batch' likewise
    products_batch.products_batch,
    products.product,
    offers.product_offers,
    offers.offers_cost,
    quarantine.quarantined_price,
    prices.product_prices,
    prices.product_prices_csv,
    prices.offer_prices,
    prices.offer_prices_csv,
    corrections.price_corrections,
    prices.product_trend,
    prices.product_verdict,
    movers.catalogue_movers,
    changes.feed,
    sources.sources,
    sources.source,
    sources.source_test,
    unmatched_items.source_unmatched,
    product_sources.product_sources,
    product_sources.product_source,
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


@cache
def contract() -> bytes:
    """The OpenAPI document as JSON. It is made at the first request for it: at start-up it would take too long."""
    return dumps(document(SERVICES))


def includeme(config: Configurator) -> None:
    # Not `config.include("cornice")`: it adds filters that we do not use to every request and answer, and answers
    # exceptions in its own format.
    config.registry.cornice_services = {}
    config.add_directive("add_cornice_service", register_service_views)
    config.include("productagg.api.core.tweens")
    config.include("productagg.api.core.idempotency")
    config.include("productagg.api.core.exception_views")
    for service in SERVICES:
        config.add_cornice_service(service)
