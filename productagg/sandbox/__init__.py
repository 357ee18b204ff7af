"""A stand-in Offers service and three shops, for development and tests. They misbehave on demand.

The Offers service keeps the published contract. The shops have pages, feeds and JSON, for the adapters of sources.

`python -m productagg.sandbox` runs it, as `make serve` and docker compose do. Tests import the names below. It imports
nothing from the rest of the project, and no module that runs in production imports it.
"""

from productagg.sandbox.faults import Fault, FaultError, Faults
from productagg.sandbox.offers import Offer, offers_at
from productagg.sandbox.server import NO_RESPONSE, SandboxServer
from productagg.sandbox.service import DEVELOPMENT_REFRESH_TOKEN, OffersService, Registration

__all__ = [
    "DEVELOPMENT_REFRESH_TOKEN",
    "NO_RESPONSE",
    "Fault",
    "FaultError",
    "Faults",
    "Offer",
    "OffersService",
    "Registration",
    "SandboxServer",
    "offers_at",
]
