"""What is known of a product's past: the argument of the history's readers."""

from datetime import datetime
from uuid import UUID

from productagg.api.core.request import Request
from productagg.catalog import products as catalog
from productagg.history.known import Known, known
from productagg.history.reading import Part


def known_product(request: Request, product_id: UUID, now: datetime, bring: Part | None = None) -> Known:
    """Raises NotFound if there is no such product. `bring`: the raw steps to read in the same statement."""
    found = known(request.reader, product_id, request.services.observed_for, now, bring)
    if found is None:
        raise catalog.NotFound(product_id)
    return found
