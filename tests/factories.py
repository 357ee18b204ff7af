"""Makes what many tests start from, and reads back what they look at."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from productagg.catalog import products
from productagg.db.models import OFFERS_SOURCE, ProductSource, Source, SyncRun
from productagg.offers.reconcile import Observation, OfferState, apply_updates, plan_updates, read_stored
from tests.conftest import REFRESH_TOKEN

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def make_product(database, name="Kettle", description="Boils water", **sync) -> UUID:
    """A committed product that is due; `sync` sets columns of its product_sources row."""
    return make_products(database, 1, name, description, **sync)[0]


def make_products(database, count, name="Kettle", description="Boils water", **sync) -> list[UUID]:
    """`count` products, the first one due the longest."""
    product_ids = []
    with database.sessions.begin() as session:
        for number in range(count):
            unique = f"{name} {number}" if count > 1 else name
            product_ids.append(products.create(session, unique, description, LONG_AGO + timedelta(seconds=number)))
            session.flush()
        if sync:
            session.execute(update(ProductSource).where(ProductSource.product_id.in_(product_ids)).values(**sync))
    return product_ids


def make_source(database, name, kind="jsonld", **values) -> UUID:
    """A source, enabled and due at once if it is a whole document; `values` sets columns of its row."""
    source_id = uuid7()
    source = {"configuration": {}, "enabled": True, "failures": 0, "version": 1}
    times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
    with database.sessions.begin() as session:
        session.add(Source(id=source_id, kind=kind, name=name, **{**source, **times, **values}))
    return source_id


def link(database, product_id, source_id, **values):
    """Make a source one of a product's, due at once; `values` sets columns of the row in product_sources."""
    state = {"next_sync_at": LONG_AGO, "failures": 0, **values}
    with database.sessions.begin() as session:
        session.add(ProductSource(product_id=product_id, source_id=source_id, **state))


def have_an_offer(database, product_id, source_id, price=80, items=2) -> UUID:
    """The source has listed an offer of the product, its first, long ago."""
    offer_id, source_id = uuid4(), UUID(str(source_id))
    listed = {offer_id: offer_state(price, items)}
    observation = Observation(product_id, listed, LONG_AGO, first=True, source_id=source_id)
    with database.sessions.begin() as session:
        apply_updates(session, plan_updates(read_stored(session, [product_id]), [observation]).values())
    return offer_id


def make_run(database, **values) -> UUID:
    """A row of sync_runs: a run that just ended well, except for the columns in `values`."""
    now = datetime.now(UTC)
    counts = dict.fromkeys(("leased", "fetched", "changed", "closed", "failed", "requests", "bytes"), 0)
    times = {"started_at": now, "finished_at": now, "longest_wait_seconds": 0.0}
    run_id = uuid7()
    run = {"id": run_id, "host": "a-host", **times, **counts, "failures": {}, "ended_by": "done", **values}
    with database.sessions.begin() as session:
        session.add(SyncRun(**run))
    return run_id


def make_runs(database, count) -> list[UUID]:
    return [make_run(database) for _ in range(count)]


def make_due(database):
    """Make every product due again, in the order of creation."""
    with database.sessions.begin() as session:
        for number, row in enumerate(session.scalars(select(ProductSource).order_by(ProductSource.product_id))):
            row.next_sync_at = LONG_AGO + timedelta(seconds=number)


def states(*pairs) -> dict[UUID, tuple[int, int]]:
    """Offers with ids of their own: `states((price, items in stock), …)`."""
    return {uuid4(): pair for pair in pairs}


def offer_state(price, items=None, **facts) -> OfferState:
    """An offer as the Offers service lists it, in the catalogue's currency; `facts` are those of other sources."""
    usual = {"currency": "EUR", "availability": "out_of_stock" if items == 0 else "in_stock"}
    return OfferState(price, items, **{**usual, **facts})


# What an offer's row says of the facts that a test is not about.
OFFER_FACTS = {"currency": "EUR", "condition": "unknown", "availability": "in_stock"}


def rows(database, model, **where):
    """What a table holds, as committed, in the order of its key."""
    query = select(model.__table__).order_by(*model.__table__.primary_key).filter_by(**where)
    with database.reader.connect() as connection:
        return connection.execute(query).all()


def sync_row(database, product_id):
    (row,) = rows(database, ProductSource, product_id=product_id, source_id=OFFERS_SOURCE)
    return row


def environment(database, upstream=None, **others):
    """The environment of a real process that works with this database and Offers service."""
    return {
        "PATH": os.environ["PATH"],
        **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
        "DATABASE_URL": database.url,
        "OFFERS_BASE_URL": upstream.base_url if upstream else "http://127.0.0.1:9/api/v1",
        "OFFERS_REFRESH_TOKEN": REFRESH_TOKEN,
        **others,
    }


def start(*command, env):
    """Start one of our commands as a process, in the project's directory; its output is one text."""
    return subprocess.Popen(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
