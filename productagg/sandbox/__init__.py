"""A stand-in Offers service for development and tests. It keeps the published contract and misbehaves on demand.

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
