"""The parts of the application that requests share. `app.py` makes them once; `request.services` has them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Protocol

from sqlalchemy.orm import Session, sessionmaker

from productagg.accounts.access_tokens import AccessTokens
from productagg.accounts.login_throttle import LoginThrottle
from productagg.api.core.cursors import Cursors
from productagg.db.readers import Engines, Readers
from productagg.settings import Settings
from productagg.sync.background import Background
from productagg.sync.run import Synchronizer
from productagg.sync.schedule import Schedule
from productagg.sync.source_test import SourceTester


@dataclass
class Readiness:
    """What /health/ready must know that only other requests and the server find out."""

    # The server was told to stop.
    is_ending: bool = False
    # A request that writes found the database unusable, and /health/ready has not written successfully since.
    writes_fail: bool = False


@dataclass(frozen=True)
class Services:
    """Any number of threads may use these at once."""

    settings: Settings
    engines: Engines
    sessions: sessionmaker[Session]
    readers: Readers
    access_tokens: AccessTokens
    login_throttle: LoginThrottle
    cursors: Cursors
    synchronizer: Synchronizer
    background: Background
    source_tester: SourceTester
    # The OpenAPI document as JSON.
    openapi: Callable[[], bytes]
    readiness: Readiness = field(default_factory=Readiness)

    @cached_property
    def observed_for(self) -> timedelta:
        """How long a product counts as observed after a complete, valid list of offers."""
        return Schedule.of(self.settings).observed_for


class Registry(Protocol):
    """Pyramid's registry, with what the composition root has put there."""

    services: Services
