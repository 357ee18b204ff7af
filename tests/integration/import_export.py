"""Brings histories in and takes them out as lines, and makes what the sync and compaction would have left."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from random import Random
from uuid import UUID

from sqlalchemy import select, update

from productagg.db.models import (
    OFFERS_SOURCE,
    Base,
    HistoryProgress,
    Offer,
    OfferPrice,
    OfferPriceDay,
    Product,
    ProductPrice,
    ProductPriceDay,
    ProductSource,
    ProductSummary,
)
from productagg.history.exporting import export, history_snapshot
from productagg.history.importing import import_
from productagg.history.lines import Line, header, read, write
from productagg.history.move_steps import move_steps
from productagg.history.staging import Staged, stage
from productagg.history.timeline import INSTANT, microseconds
from productagg.offers.reconcile import Observation
from tests.factories import LONG_AGO, offer_state, rows
from tests.integration.offer_history import write_down

# The products' own histories begin with LONG_AGO; the last instant before:
LAST = LONG_AGO - INSTANT
START = datetime(2019, 10, 1, 12, tzinfo=UTC)
A, B, C = (UUID(int=number) for number in (10, 11, 12))
HISTORY: list[type[Base]] = [OfferPrice, OfferPriceDay, ProductPrice, ProductPriceDay]

WRITTEN: list[type[Base]] = [*HISTORY, Offer, ProductSummary]
TABLES = [Base.metadata.tables[model.__tablename__] for model in WRITTEN]


def after(**time):
    return START + timedelta(**time)


def line(product_id, offer_id, at, price=None, items=None, currency="EUR"):
    return Line(product_id, offer_id, microseconds(at), price, items, currency if offer_id else None)


def bring(database, lines, *, replace=False, progress=None):
    """Import the lines as a file."""
    with Staged() as staged:
        content = BytesIO(header("csv") + write(lines, "csv"))
        stage(staged, read(content, "csv"), database.sessions, datetime.now(UTC))
        with database.sessions.begin() as session:
            import_(session, staged, replace=replace, progress=progress)


def take(database, *product_ids, begin=None, end=None):
    """Export as lines."""
    with database.reader.connect() as connection, history_snapshot(connection):
        return list(export(connection, product_ids, begin, end))


def observe(database, product_id, at, offers, gap_from=None):
    """What the sync does with a list of offers."""
    with database.sessions.begin() as session:
        sync = session.get_one(ProductSource, (product_id, OFFERS_SOURCE))
        states = {id_: offer_state(*state) for id_, state in offers.items()}
        first = sync.last_synced_at is None
        write_down(session, Observation(product_id, states, at, first, gap_from))
        sync.last_synced_at = at


def create_on(database, product_id, day):
    """As if the product had been created on another day."""
    with database.writer.begin() as connection:
        connection.execute(update(Product).where(Product.id == product_id).values(created_at=day))


def compact_to(database, raw_from):
    """Compact all steps before a day."""
    with database.sessions.begin() as session:
        session.execute(update(HistoryProgress).values(raw_from=raw_from))
        move_steps(session, session.scalars(select(Product.id)).all(), raw_from)


def of_product(database, product_id):
    """The product's raw history: time, lowest, average, offers, items, observed."""
    return [row[1:] for row in rows(database, ProductPrice, product_id=product_id)]


def of_offer(database, product_id, offer_id):
    """The offer's raw history: time, price, items."""
    return [row[2:] for row in rows(database, OfferPrice, product_id=product_id, offer_id=offer_id)]


def everything(database, models=HISTORY, **where):
    return {model.__tablename__: rows(database, model, **where) for model in models}


def collected(product_id, days=60):
    """Lines over some days, with gaps at midnight and elsewhere, offers that come and go, and quiet days."""
    random = Random(4)
    lines = {}
    for _ in range(300):
        at = after(hours=random.randrange(days * 24))
        match random.randrange(8):
            case 0:
                new = line(product_id, None, at.replace(hour=random.choice([0, 13])))
            case 1:
                new = line(product_id, random.choice([A, B, C]), at, random.randrange(100), 0)
            case _:
                new = line(product_id, random.choice([A, B, C]), at, random.randrange(100), random.randrange(3))
        lines[new.offer_id, new.at] = new
    return list(lines.values())
