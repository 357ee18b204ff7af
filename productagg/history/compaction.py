"""Keeps years of history small: compacts the steps of old months, and removes offers that were closed long ago.

For `productagg history compact`. It works in short transactions, can be killed at any time, and continues with the next
run. At every moment each step is in exactly one place. See docs/decisions/0006-price-history.md.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, exists, func, literal, or_, select, union_all, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from productagg.db.models import (
    LAST_OBSERVED_AT,
    HistoryProgress,
    Offer,
    OfferPrice,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    Source,
)
from productagg.history import partitions
from productagg.history.closed_offers import remove_closed
from productagg.history.move_steps import move_steps
from productagg.history.partitions import month_of
from productagg.history.row_writer import insert_rows
from productagg.history.timeline import DAY, INSTANT, INTERVALS_OBSERVED, bucket_start, microseconds, moment

_LOCK = 0x50A99_C0DE
_GAPS_AT_ONCE = 200
# In one transaction: about how many steps, and how many products at most.
_STEPS_AT_ONCE = 20_000
_MOST_PRODUCTS = 1000


class CompactionRunning(Exception):
    """Another compaction is running."""


@dataclass
class CompactionResult:
    """What a compaction did: steps moved and the rows that replaced them, months dropped, closed offers removed."""

    steps: int = 0
    rows: int = 0
    months: int = 0
    offers: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return (
            f"{self.steps} steps compacted to {self.rows} rows, {self.months} months dropped, "
            f"{self.offers} closed offers removed, in {time.monotonic() - self.started:.2f} s"
        )


class Compaction:
    """One run. `reader` only reads; `observed_for`: see StepQueries.

    Steps are kept raw for `raw_days`, in whole months; closed offers for `closed_days`, but not shorter than raw steps.
    """

    def __init__(
        self,
        reader: Connection,
        sessions: sessionmaker[Session],
        raw_days: int,
        observed_for: timedelta,
        now: datetime,
        progress: Callable[[int, int], None] | None = None,
        *,
        closed_days: int,
    ) -> None:
        self._reader = reader
        self._sessions = sessions
        self._now = now
        # Gaps that began before the cutoff are final, even for hosts and sources that sync less often.
        longest = timedelta(seconds=reader.scalar(select(func.max(Source.interval_seconds))) or 0)
        counts_for = max(observed_for, longest * INTERVALS_OBSERVED) + timedelta(days=1)
        self._cutoff = month_of(now - max(timedelta(days=raw_days), counts_for))
        self._closed_cutoff = moment(bucket_start(microseconds(now - timedelta(days=closed_days)), DAY))
        self._postgresql = reader.dialect.name == "postgresql"
        self._progress = progress
        self.result = CompactionResult()

    def run(self) -> CompactionResult:
        """Compact all old months. Raises CompactionRunning, or partitions.Locked: the next run finishes the work."""
        with self._exclusive():
            self._record_open_gaps()
            self._compact()
            self._clean_up()
        return self.result

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Only PostgreSQL needs the lock: on SQLite, transactions of two compactions wait for each other."""
        if not self._postgresql:
            yield
            return
        # A transaction's lock: behind a pooler a session's lock would not stay ours. The transaction does nothing else.
        no_limit = func.set_config("idle_in_transaction_session_timeout", "0", literal(value=True))
        with self._sessions() as session:
            is_ours, _ = session.execute(select(func.pg_try_advisory_xact_lock(_LOCK), no_limit)).one()
            if not is_ours:
                raise CompactionRunning("another compaction is running")
            try:
                yield
            finally:
                with suppress(DBAPIError):  # the lock went with its connection
                    session.rollback()

    def _record_open_gaps(self) -> None:
        """Record the start of open gaps that began before the cutoff.

        Otherwise the next observation would record them in compacted days.
        """
        newest = select(ProductSource.product_id, func.max(LAST_OBSERVED_AT).label("last"))
        newest = newest.join(Source, Source.id == ProductSource.source_id).group_by(ProductSource.product_id)
        last = newest.subquery().c
        nothing_since = (
            ~exists().where(model.product_id == last.product_id, model.observed_at > last.last)
            for model in (ProductPrice, ProductPriceDay)
        )
        query = select(last.product_id, last.last).where(last.last < self._cutoff - INSTANT, *nothing_since)
        found: Any = iter(self._reader.execute(query.order_by(last.product_id)).all())
        while gap_from := {product_id: at + INSTANT for product_id, at in islice(found, _GAPS_AT_ONCE)}:
            with self._sessions.begin() as session:
                _insert_gaps(session, gap_from)

    def _compact(self) -> None:
        total = done = 0
        if self._progress is not None:
            total = self._reader.scalar(select(func.count()).select_from(Product).where(self._has_old_steps())) or 0
        # The first product alone, to learn how many steps a product has.
        after, limit = UUID(int=0), 1
        while product_ids := self._next_products(after, limit):
            self._advance_watermark()
            steps = self._compact_months(product_ids)
            after = product_ids[-1]
            limit = max(1, min(_MOST_PRODUCTS, len(product_ids) * _STEPS_AT_ONCE // max(steps, 1)))
            done += len(product_ids)
            if self._progress is not None:
                self._progress(done, max(done, total))

    def _next_products(self, after: UUID, limit: int) -> Sequence[UUID]:
        query = select(Product.id).where(Product.id > after, self._has_old_steps())
        return self._reader.scalars(query.order_by(Product.id).limit(limit)).all()

    def _has_old_steps(self) -> ColumnElement[bool]:
        """One index probe per product and per offer; it reads no history."""
        of_product = exists().where(ProductPrice.product_id == Product.id, ProductPrice.observed_at < self._cutoff)
        mine = (OfferPrice.product_id == Offer.product_id, OfferPrice.offer_id == Offer.id)
        of_offer = exists().where(*mine, OfferPrice.observed_at < self._cutoff)
        return or_(of_product, exists().where(Offer.product_id == Product.id, of_offer))

    def _advance_watermark(self) -> None:
        """Advance the watermark before any older step is removed."""
        earlier = or_(HistoryProgress.raw_from.is_(None), HistoryProgress.raw_from < self._cutoff)
        with self._sessions.begin() as session:
            session.execute(update(HistoryProgress).where(earlier).values(raw_from=self._cutoff))

    def _compact_months(self, product_ids: Sequence[UUID]) -> int:
        """One transaction per month with steps of these products. Returns the number of steps moved in the last one."""
        steps = 0
        while (oldest := self._oldest_step(product_ids)) is not None and oldest < self._cutoff:
            with self._sessions.begin() as session:
                moved = move_steps(session, product_ids, month_of(oldest, 1))
            # Products that are being imported are left to the next run.
            product_ids = moved.product_ids
            steps = moved.steps
            self.result.steps += moved.steps
            self.result.rows += moved.rows
        return steps

    def _oldest_step(self, product_ids: Sequence[UUID]) -> datetime | None:
        of_product = select(func.min(ProductPrice.observed_at)).where(ProductPrice.product_id == Product.id)
        mine = (OfferPrice.product_id == Offer.product_id, OfferPrice.offer_id == Offer.id)
        of_offer = select(func.min(OfferPrice.observed_at)).where(*mine)
        oldest = union_all(
            select(of_product.scalar_subquery().label("at")).where(Product.id.in_(product_ids)),
            select(of_offer.scalar_subquery()).where(Offer.product_id.in_(product_ids)),
        ).subquery()
        found: datetime | None = self._reader.scalar(select(func.min(oldest.c.at)))
        return found

    def _clean_up(self) -> None:
        """Remove closed offers and empty partitions, and create partitions ahead.

        A locked partition does not stop the other steps.
        """
        locked = None
        on_postgresql = (self._drop_months, self._create_months) if self._postgresql else ()
        for act in (self._remove_closed, *on_postgresql):
            try:
                act()
            except partitions.Locked as reason:
                locked = reason
        if locked is not None:
            raise locked

    def _remove_closed(self) -> None:
        raw_from = self._reader.scalar(select(HistoryProgress.raw_from))
        if raw_from is not None:
            before = min(raw_from, self._closed_cutoff)
            self.result.offers = remove_closed(self._reader, self._sessions, before)

    def _drop_months(self) -> None:
        self.result.months = partitions.drop_empty(self._sessions, self._cutoff)

    def _create_months(self) -> None:
        partitions.prepare(self._sessions, self._now)


def _insert_gaps(session: Session, gap_from: Mapping[UUID, datetime]) -> None:
    """Append the starts of gaps to the products' histories; a sync run may have done so meanwhile."""
    lock = select(Product.id).where(Product.id.in_(gap_from)).order_by(Product.id)
    products = session.scalars(lock.with_for_update(read=True, key_share=True)).all()
    gap = {"offers": 0, "items_in_stock": 0, "observed": False}
    insert_rows(session, ProductPrice, [{"product_id": id_, "observed_at": gap_from[id_], **gap} for id_ in products])
