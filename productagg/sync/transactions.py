"""The sync's short transactions, which are repeated while the database cannot be reached. For `run`."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.errors import driver_message, is_unavailable
from productagg.sync.time_budget import TimeBudget

log = logging.getLogger(__name__)

Result = TypeVar("Result")

LONGEST_WAIT_SECONDS = 30.0
POLL_SECONDS = 0.25


def run_in_transaction(
    sessions: sessionmaker[Session], work: Callable[[Session], Result], budget: TimeBudget | None
) -> Result:
    """Do `work` in a transaction. If the database cannot be reached, try again while the budget lasts.

    Without a budget there is one try. `work` may run several times, always in a new transaction.
    """
    give_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
    warned = False
    while True:
        try:
            with sessions.begin() as session:
                return work(session)
        except DBAPIError as error:
            if not (is_unavailable(error) and _has_time(budget, give_up_at)):
                raise
            if not warned:
                warned = True
                log.warning("the database is out of reach, trying again: %s", driver_message(error))
        time.sleep(POLL_SECONDS)


def _has_time(budget: TimeBudget | None, give_up_at: float) -> bool:
    return budget is not None and budget.seconds_left() > 0 and time.monotonic() < give_up_at
