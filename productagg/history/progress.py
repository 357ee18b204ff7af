"""How far the histories are rolled up, and the notice that a day that was rolled up has got another row.

Whoever rolls up reads `generation` before and compares it after: see models.HistoryProgress.
"""

from datetime import UTC, datetime, time

from sqlalchemy import case, or_, update
from sqlalchemy.orm import Session

from productagg.models import HistoryProgress


def roll_up_again(session: Session, at: datetime) -> None:
    """Something was written into the past, at this time: from its day on, days are to be rolled up again.

    Days whose raw rows are gone are not: nothing could be rolled up there.
    """
    day = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    row = HistoryProgress
    session.execute(
        update(row)
        .values(
            rolled_until=case(
                # A day that is not rolled up may be just now: that the generation has changed is for whoever does it.
                (or_(row.rolled_until.is_(None), row.rolled_until < day), row.rolled_until),
                (row.raw_from > day, row.raw_from),
                else_=day,
            ),
            generation=row.generation + 1,
        )
        .execution_options(synchronize_session=False)
    )
