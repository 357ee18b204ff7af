"""A stand-in Offers service that keeps the published contract to the letter and misbehaves on demand.

For `make serve`, docker compose and the tests, which use what is exported here. It imports nothing of the rest of the
project, and nothing of the project that runs for real imports it.
"""

from productagg.sandbox.faults import Fault, FaultError, Faults
from productagg.sandbox.offers import Offer, offers_at
from productagg.sandbox.server import NO_ANSWER, SandboxServer
from productagg.sandbox.service import DEVELOPMENT_REFRESH_TOKEN, OffersService, Registration

__all__ = [
    "DEVELOPMENT_REFRESH_TOKEN",
    "NO_ANSWER",
    "Fault",
    "FaultError",
    "Faults",
    "Offer",
    "OffersService",
    "Registration",
    "SandboxServer",
    "offers_at",
]
