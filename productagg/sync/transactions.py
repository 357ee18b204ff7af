"""The sync's short transactions, which are repeated while the database is out of reach. For `run`."""

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
    """Do `work` in a transaction; if the database is out of reach, try again while the budget lasts, without one never.

    `work` may run several times, each time in a new transaction.
    """
    give_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
    warned = False
    while True:
        try:
            with sessions.begin() as session:
                return work(session)
        except DBAPIError as error:
            if budget is None or not is_unavailable(error) or _is_over(budget, give_up_at):
                raise
            if not warned:
                warned = True
                log.warning("the database is out of reach, trying again: %s", driver_message(error))
        time.sleep(POLL_SECONDS)


def _is_over(budget: TimeBudget, give_up_at: float) -> bool:
    return budget.seconds_left() <= 0 or time.monotonic() >= give_up_at
