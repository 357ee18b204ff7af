"""How far the histories are rolled up, and the notice that a day that was rolled up has got another row.

Whoever rolls up reads `generation` before and compares it after: see models.HistoryProgress.
"""

from datetime import UTC, datetime, time

from sqlalchemy import case, update
from sqlalchemy.orm import Session

from productagg.models import HistoryProgress


def roll_up_again(session: Session, at: datetime) -> None:
    """Something was written into the past, at this time: from its day on, days are to be rolled up again.

    Days whose raw rows are gone are not: nothing could be rolled up there.
    """
    day = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    session.execute(
        update(HistoryProgress)
        .where(HistoryProgress.rolled_until >= day)
        .values(
            rolled_until=case((HistoryProgress.raw_from > day, HistoryProgress.raw_from), else_=day),
            generation=HistoryProgress.generation + 1,
        )
        .execution_options(synchronize_session=False)
    )
