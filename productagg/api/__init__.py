"""The JSON API. Views are thin: validated values in, one call to a domain room, plain values out."""

from typing import Any

from productagg.api import health, history, login, movers, offers, problems, products, runs
from productagg.api.service import dumps


def includeme(config: Any) -> None:
    # Cornice's own exception views would answer in Cornice's own format.
    config.add_settings({"handle_exceptions": "false"})
    config.include("cornice")
    config.include("productagg.api.tweens")
    config.include("productagg.api.errors")
    config.add_renderer("json", lambda _info: _render)
    for services in (
        (products.products, products.product),
        (offers.product_offers, offers.offers_cost),
        (history.product_prices, history.offer_prices, history.product_trend, history.product_verdict),
        (movers.catalogue_movers,),
        (runs.sync_runs, runs.sync_run),
        (login.login,),
        (health.live, health.ready),
        (problems.problem,),
    ):
        for service in services:
            config.add_cornice_service(service)


def _render(value: object, system: Any) -> bytes:
    system["request"].response.content_type = "application/json"
    return dumps(value)
