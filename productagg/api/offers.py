"""/products/{id}/offers: what is offered for a product."""

from typing import Any

from productagg import catalog, offers
from productagg.api.schemas import OFFERS
from productagg.api.service import PUBLIC, product_id, query, service

product_offers = service("product_offers", "/products/{id}/offers")


@product_offers.get(permission=PUBLIC, validators=(product_id, query(OFFERS)))
def list_offers(request: Any) -> list[dict[str, Any]]:
    """The current offers, cheapest first; with `closed=true` the sold-out ones after them."""
    wanted = request.validated["product_id"]
    catalog.get(request.reader, wanted)
    return [dict(row) for row in offers.listing(request.reader, wanted, closed=request.validated["closed"])]
