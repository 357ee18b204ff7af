"""What is recorded of every change, in which order, and with what was before."""

import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, func, select, text
from sqlalchemy.exc import OperationalError

from productagg.catalog import change_feed, products
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.catalog.change_feed import Event, UnknownSequence, record, since, write_pending
from productagg.db.models import Product, ProductChange, ProductSummary
from productagg.offers.reconcile import Observation
from tests.databases import only_postgresql
from tests.factories import LONG_AGO, make_due, make_product, make_products, offer_state, rows, states
from tests.integration.conftest import before_statement, wait_until
from tests.integration.offer_history import write_down
from tests.scale import examples

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
ONE, OTHER = UUID(int=1), UUID(int=2)


def observe(session, product_id, offers, at=NOON, *, first=False, gap_from=None):
    observed = {id_: offer_state(*state) for id_, state in offers.items()}
    observation = Observation(product_id, observed, at, first, gap_from)
    write_down(session, observation)


def last(database):
    with database.reader.connect() as connection:
        return since(connection, 0, 1).last


@pytest.fixture
def news(database):
    """What was recorded since the last call: `news()`."""
    seen = last(database)

    def news():
        nonlocal seen
        found = [row for row in rows(database, ProductChange) if row.sequence > seen]
        seen = max([seen, *(row.sequence for row in found)])
        return [(row.kind, row.product_id) for row in found]

    return news


class TestWhatIsRecorded:
    def test_products_are_created_in_the_order_in_which_they_were_given_and_those_that_exist_are_not(
        self, database, news
    ):
        new = [NewProduct(name, "") for name in ("Pan", "Kettle", "Pan", "Lamp")]
        with database.sessions.begin() as session:
            created = create_many(session, new, NOON)

        assert news() == [("created", id_) for id_ in created if id_ is not None]
        assert [row.at for row in rows(database, ProductChange)] == [NOON] * 3

    def test_a_change_says_what_the_product_was_called_before_and_when_it_had_last_changed(self, database, news):
        product_id = make_product(database, "Kettle")
        with database.sessions.begin() as session:
            products.change(session, product_id, NOON, name="Pot")
        with database.sessions.begin() as session:
            products.change(session, product_id, LATER, description="Better")

        assert news() == [("created", product_id), ("changed", product_id), ("changed", product_id)]
        _, first, second = rows(database, ProductChange)
        assert (first.at, first.sort_name, first.updated_at) == (NOON, "kettle", LONG_AGO)
        assert (second.at, second.sort_name, second.updated_at) == (LATER, "pot", NOON)
        assert [change.search_text for change in (first, second)] == [" kettle \n boils water ", " pot \n boils water "]

    def test_a_change_to_what_it_is_already_is_none(self, database, news):
        product_id = make_product(database, "Kettle", "Boils water")
        news()
        with database.sessions.begin() as session:
            products.change(session, product_id, NOON, name="Kettle", description="Boils water")

        assert news() == []

    def test_a_removed_product_leaves_a_tombstone(self, database, news):
        product_id = make_product(database)
        with database.sessions.begin() as session:
            products.remove(session, product_id, NOON)

        assert news() == [("created", product_id), ("deleted", product_id)]
        assert rows(database, Product) == []

    def test_a_run_records_whose_offers_changed_and_what_they_summed_up_to(
        self, database, upstream, synchronizer, news
    ):
        changing, resting, empty = make_products(database, 3)
        upstream.offer(changing, {ONE: (100, 5), OTHER: (200, 1)})
        upstream.offer(resting, states((100, 5)))
        news()

        # The first list is news, even an empty one
        synchronizer.run()
        assert sorted(news()) == sorted(("offers", id_) for id_ in (changing, resting, empty))

        # The two have changed places: the sum is the same, the offers are not
        upstream.offer(changing, {OTHER: (100, 5), ONE: (200, 1)})
        make_due(database)
        synchronizer.run()
        assert news() == [("offers", changing)]

        upstream.offer(changing, {})
        make_due(database)
        synchronizer.run()
        assert news() == [("offers", changing)]

        make_due(database)
        synchronizer.run()
        assert news() == []
        before = [(row.lowest, row.items_in_stock) for row in rows(database, ProductChange, product_id=changing)]
        assert before == [(None, None), (None, 0), (100, 6), (100, 6)]

    def test_a_gap_is_news_even_if_the_same_is_offered_after_it(self, database, news):
        product_id = make_product(database)
        with database.sessions.begin() as session:
            observe(session, product_id, {ONE: (100, 5)}, NOON, first=True)
        news()

        with database.sessions.begin() as session:
            observe(session, product_id, {ONE: (100, 5)}, NOON + timedelta(days=1), gap_from=LATER)

        assert news() == [("offers", product_id)]
        assert rows(database, ProductChange)[-1].at == NOON + timedelta(days=1)


class TestWhatIsNotRecorded:
    @pytest.mark.parametrize(
        "act",
        [
            lambda session, _: create_many(session, [NewProduct("New", "")], NOON),
            lambda session, product_id: products.change(session, product_id, NOON, name="New"),
            lambda session, product_id: products.remove(session, product_id, NOON),
            lambda session, product_id: observe(session, product_id, {ONE: (100, 5)}, first=True),
        ],
        ids=["create", "change", "remove", "observe"],
    )
    def test_what_is_rolled_back(self, database, news, act):
        product_id = make_product(database)
        news()

        with database.sessions() as session:
            act(session, product_id)
            write_pending(session)
            assert session.scalar(select(func.count()).select_from(ProductChange)) == 2
            session.rollback()

        assert news() == []

    @pytest.mark.parametrize("end", ["rollback", "close"])
    def test_what_ended_otherwise_by_the_next_transaction_of_the_session(self, database, news, end):
        session = database.sessions()
        products.create(session, "Kettle", "", NOON)
        getattr(session, end)()

        session.commit()
        with session.begin():
            created = products.create(session, "Pot", "", NOON)

        assert news() == [("created", created)]

    @pytest.mark.parametrize("act", ["exists", "stale", "missing"])
    def test_what_is_refused(self, database, news, act):
        product_id, other = make_products(database, 2)
        news()
        refused = {
            "exists": lambda session: products.change(session, product_id, NOON, name="Kettle 1"),
            "stale": lambda session: products.remove(session, other, NOON, versions=[7]),
            "missing": lambda session: products.remove(session, uuid4(), NOON),
        }

        with (
            database.sessions.begin() as session,
            pytest.raises((products.DuplicateName, products.StaleVersion, products.NotFound)),
        ):
            refused[act](session)

        assert news() == []

    def test_offers_whose_transaction_fails(self, database, upstream, synchronizer, news, monkeypatch):
        upstream.offer(make_product(database), states((100, 5)))
        news()
        before = last(database)

        def write_and_crash(session):
            write_pending(session)
            if session.scalar(select(func.max(ProductChange.sequence))) > before:
                raise ZeroDivisionError

        monkeypatch.setattr(change_feed, "write_pending", write_and_crash)
        with pytest.raises(ZeroDivisionError):
            synchronizer.run()

        assert news() == []


@pytest.mark.parametrize("act", ["create", "change", "remove", "several", "apply"])
def test_recording_is_the_last_thing_that_a_transaction_does(database, upstream, synchronizer, monkeypatch, act):
    # A change of a product that the service refused writes more than other changes.
    product_id = make_product(database, **({"registration": "failed"} if act == "change" else {}))
    upstream.offer(product_id, states((100, 5)))
    acts: dict[str, Any] = {
        "create": lambda session: products.create(session, "New", "", NOON),
        "change": lambda session: products.change(session, product_id, NOON, name="New"),
        "remove": lambda session: products.remove(session, product_id, NOON),
    }
    acts["several"] = lambda session: (acts["change"](session), products.create(session, "Newer", "", NOON))
    before = last(database)
    # The statements of each transaction; None is where it has written changes down.
    transactions: list[list[str | None]] = [[]]

    def look(session):
        write_pending(session)
        if session.scalar(select(func.max(ProductChange.sequence))) > before:
            transactions[-1].append(None)

    def end(_connection):
        transactions.append([])

    monkeypatch.setattr(change_feed, "write_pending", look)
    event.listen(database.writer, "commit", end)
    try:
        with before_statement(database.writer, "", lambda statement: transactions[-1].append(statement)):
            if act == "apply":
                synchronizer.run()
            else:
                with database.sessions.begin() as session:
                    acts[act](session)
    finally:
        event.remove(database.writer, "commit", end)

    recording = next(sent for sent in transactions if None in sent)
    assert recording[-1] is None


class TestReading:
    def test_page_by_page_every_change_comes_once(self, database):
        product_ids = make_products(database, 7)

        found, pages, more, after = [], [], True, 0
        while more:
            with database.reader.connect() as connection:
                page = since(connection, after, 3)
            more, after = page.more, page.changes[-1].sequence
            found += page.changes
            pages.append(len(page.changes))

        assert [change.product_id for change in found] == product_ids
        assert [change.kind for change in found] == ["created"] * 7
        assert (pages, page.last) == ([3, 3, 1], found[-1].sequence)

    def test_a_page_that_is_just_full_is_the_last_one(self, database):
        make_products(database, 3)

        with database.reader.connect() as connection:
            page = since(connection, 0, 3)

        assert (len(page.changes), page.more) == (3, False)

    def test_nothing_has_happened_yet(self, database):
        with database.reader.connect() as connection:
            assert since(connection, 0, 3) == ([], False, 0)

    def test_a_number_that_was_never_given_out_is_refused(self, database):
        make_product(database)

        with database.reader.connect() as connection:
            assert since(connection, last(database), 10).changes == []
            with pytest.raises(UnknownSequence) as refused:
                since(connection, last(database) + 1, 10)

        assert refused.value.last == last(database)

    def test_no_number_is_given_twice_even_if_its_row_is_gone(self, database):
        make_product(database)
        before = last(database)
        with database.writer.begin() as connection:
            connection.execute(delete(ProductChange))

        make_product(database, "Pan")

        assert last(database) > before


# What may happen to one of three products, and what is offered for it then.
some_offers = st.dictionaries(
    st.sampled_from([ONE, OTHER]), st.tuples(st.sampled_from([0, 100, 101]), st.integers(0, 2))
)
acts = st.one_of(
    st.just(("create",)),
    st.tuples(st.just("rename"), st.integers(0, 2)),
    st.just(("describe",)),
    st.just(("remove",)),
    st.tuples(st.just("observe"), some_offers),
    st.tuples(st.just("observe after a gap"), some_offers),
)


class Catalogue:
    """Three places for products; remembers what was so at every number of the feed."""

    def __init__(self, database):
        self._database = database
        self._mark = uuid4().hex
        self._made = 0
        self._now = NOON
        self._products: list[UUID | None] = [None] * 3
        self.was: dict[int, dict[UUID, tuple[Any, ...]]] = {}
        for place in range(3):
            self.act(place, "create")

    def act(self, place, kind, what=None):
        self._now += timedelta(minutes=1)
        product_id = self._products[place]
        with self._database.sessions.begin() as session:
            if kind == "create":
                self._made += 1
                if product_id is None:
                    self._products[place] = products.create(session, self._name(self._made), "", self._now)
            elif product_id is None:
                pass
            elif kind == "rename":
                products.change(session, product_id, self._now, name=self._name(1000 + 3 * what + place))
            elif kind == "describe":
                products.change(session, product_id, self._now, description=str(self._now))
            elif kind == "remove":
                products.remove(session, product_id, self._now)
                self._products[place] = None
            else:
                gap_from = self._now - timedelta(seconds=1) if kind == "observe after a gap" else None
                first = session.get_one(ProductSummary, product_id).observed_at is None
                observe(session, product_id, what, self._now, first=first, gap_from=gap_from)
        self.was[last(self._database)] = self.now()

    def now(self):
        query = (
            select(
                Product.id, Product.sort_name, Product.updated_at, ProductSummary.lowest, ProductSummary.items_in_stock
            )
            .join(ProductSummary, ProductSummary.product_id == Product.id)
            .where(Product.id.in_([product_id for product_id in self._products if product_id is not None]))
        )
        with self._database.reader.connect() as connection:
            return {product_id: tuple(values) for product_id, *values in connection.execute(query)}

    def _name(self, number):
        return f"{number} {self._mark}"


# The fixture is shared by a test's examples because each has products of its own.
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 2), acts), min_size=5, max_size=30))
def test_what_was_so_at_any_number_is_what_the_first_later_change_says_was_before(database, steps):
    catalogue = Catalogue(database)
    for place, act in steps:
        catalogue.act(place, *act)

    present = catalogue.now()
    feed = rows(database, ProductChange)
    for number, then in catalogue.was.items():
        for product_id, state in then.items():
            later = [row for row in feed if row.sequence > number and row.product_id == product_id]
            if any(row.kind == "deleted" for row in later):
                continue
            name, updated_at, lowest, items_in_stock = present[product_id]
            changed = next((row for row in later if row.kind == "changed"), None)
            if changed is not None:
                name, updated_at = changed.sort_name, changed.updated_at
            observed = next((row for row in later if row.kind == "offers"), None)
            if observed is not None:
                lowest, items_in_stock = observed.lowest, observed.items_in_stock
            assert (name, updated_at, lowest, items_in_stock) == state


@pytest.fixture
def write(database):
    """Record something of a product at a time: `write("changed", product_id, at)`."""
    before: dict[str, dict[str, Any]] = {
        "changed": {"sort_name": "kettle", "updated_at": NOON, "search_text": " kettle \n  "},
        "offers": {"items_in_stock": 1},
    }

    def write(kind, product_id, at):
        with database.sessions.begin() as session:
            record(session, [Event(product_id, kind, at, **before.get(kind, {}))])

    return write


def compact(database, before, after=0):
    """As often as there is something left. Returns how many it removed."""
    removed = 0
    while after is not None:
        with database.sessions.begin() as session:
            count, after = change_feed.compact(session, after, before)
        removed += count
    return removed


class TestCompaction:
    def test_of_what_is_old_the_newest_of_each_kind_of_a_product_stays(self, database, write, news):
        for kind in ("created", "changed", "offers", "changed", "offers", "offers"):
            write(kind, ONE, NOON)
        write("offers", OTHER, NOON)
        news()

        assert compact(database, LATER) == 3

        found = [(row.kind, row.product_id) for row in rows(database, ProductChange)]
        assert found == [("created", ONE), ("changed", ONE), ("offers", ONE), ("offers", OTHER)]

    def test_of_a_product_that_is_gone_only_its_end_stays(self, database, write):
        for kind in ("created", "changed", "offers"):
            write(kind, ONE, NOON)
        write("created", OTHER, NOON)
        write("deleted", ONE, LATER)

        assert compact(database, LATER) == 3

        assert [(row.kind, row.product_id) for row in rows(database, ProductChange)] == [
            ("created", OTHER),
            ("deleted", ONE),
        ]

    def test_what_is_not_old_stays_whatever_follows_it(self, database, write):
        for at in (NOON, LATER, LATER, LATER):
            write("offers", ONE, at)

        assert compact(database, LATER) == 1

        assert [row.at for row in rows(database, ProductChange)] == [LATER] * 3

    def test_what_is_old_and_stays_loses_the_text_that_only_cursors_need(self, database, write):
        for product_id, at in ((ONE, NOON), (OTHER, NOON), (ONE, LATER)):
            write("changed", product_id, at)

        compact(database, LATER)

        assert [row.search_text is None for row in rows(database, ProductChange)] == [True, False]

    @pytest.mark.parametrize("at_once", [1, 2, 3, 100])
    def test_it_goes_through_all_that_is_old_a_few_rows_at_a_time(self, database, write, monkeypatch, at_once):
        for number in range(7):
            write("offers", (ONE, OTHER)[number % 2], NOON)
        write("created", ONE, LATER)
        monkeypatch.setattr(change_feed, "COMPACTED_AT_ONCE", at_once)

        assert compact(database, LATER) == 5

        left = [row.sequence for row in rows(database, ProductChange)]
        assert len(left) == 3
        assert compact(database, LATER) == 0

    def test_beside_somebody_who_deletes_the_product_its_end_is_told(self, database, write, news):
        product_id = make_product(database)
        write("offers", product_id, NOON)
        write("offers", product_id, NOON)

        statements = count(1)

        def remove():
            with database.sessions.begin() as session:
                products.remove(session, product_id, LATER)

        def look(_statement):
            if next(statements) == 2:
                remove()

        if database.name == "postgresql":
            # Between the statement that looks for changes and the statement that removes them.
            with before_statement(database.writer, "", look):
                compact(database, LATER)
        else:  # has one writer at a time
            compact(database, LATER)
            remove()
        compact(database, LATER)

        assert [row.kind for row in rows(database, ProductChange)] == ["deleted"]


# The fixture is shared by a test's examples because each has products of its own.
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), acts), min_size=3, max_size=20),
    pause=st.integers(0, 20),
    age=st.integers(0, 25),
)
def test_who_was_away_hears_the_newest_of_each_kind_of_every_product_and_of_the_end_of_those_that_are_gone(
    database, steps, pause, age
):
    start = last(database)
    catalogue = Catalogue(database)
    for place, act in steps[:pause]:
        catalogue.act(place, *act)
    away_since = last(database)
    for place, act in steps[pause:]:
        catalogue.act(place, *act)
    whole = [row for row in rows(database, ProductChange) if row.sequence > start]

    compact(database, NOON + timedelta(minutes=age), start)

    left = [row for row in rows(database, ProductChange) if row.sequence > start]
    gone = {row.product_id for row in whole if row.kind == "deleted"}
    news = {(row.product_id, row.kind): row.sequence for row in whole if row.sequence > away_since}
    heard = {(row.product_id, row.kind): row.sequence for row in left if row.sequence > away_since}
    for (product_id, kind), number in news.items():
        if kind == "deleted" or product_id not in gone:
            assert heard[product_id, kind] == number
    # Nothing else is told than what was, and what is not old is told whole
    told = {row.sequence: row[:-1] for row in whole}  # the last column, the text, is no part of it
    assert all(told[row.sequence] == row[:-1] for row in left)
    assert all(row in left for row in whole if row.at >= NOON + timedelta(minutes=age))
    assert [row.sequence for row in left[-1:]] == [row.sequence for row in whole[-1:]]


class Follower:
    """Reads the feed again and again, a few at a time, as a client would."""

    def __init__(self, database):
        self._database = database
        self._after = last(database)
        self.found: list[tuple[int, UUID]] = []

    def read(self):
        with self._database.reader.connect() as connection:
            page = since(connection, self._after, 3)
        self.found += [(change.sequence, change.product_id) for change in page.changes]
        self._after = self.found[-1][0] if self.found else self._after
        return page.more

    def catch_up(self):
        while self.read():
            pass

    def follow(self, until):
        """Until all of these are done, and to the end."""
        while not all(future.done() for future in until):
            self.read()
        self.catch_up()


def test_a_follower_beside_many_writers_whose_commits_are_late_sees_everything_once_and_in_order(database):
    product_ids = make_products(database, 4)
    follower = Follower(database)
    chance = random.Random(5)

    def dawdle(_connection):
        threading.Event().wait(chance.choice([0, 0, 0.001, 0.004]))

    def write(number):
        mine = product_ids[number]
        for turn in range(25):
            with database.sessions() as session:
                if turn % 3 == 0:
                    news = [NewProduct(f"{number} {turn} {copy}", "") for copy in range(3)]
                    create_many(session, news, NOON)
                elif turn % 3 == 1:
                    products.change(session, mine, NOON, name=f"{number} {turn}")
                else:
                    observe(session, mine, {ONE: (turn, 1)}, NOON + timedelta(minutes=turn))
                if turn % 5 == 4:
                    session.rollback()
                else:
                    session.commit()

    event.listen(database.writer, "commit", dawdle)
    event.listen(database.writer, "rollback", dawdle)
    try:
        with ThreadPoolExecutor(4) as pool:
            follower.follow([pool.submit(write, number) for number in range(4)])
    finally:
        event.remove(database.writer, "commit", dawdle)
        event.remove(database.writer, "rollback", dawdle)

    all_of_it = [(row.sequence, row.product_id) for row in rows(database, ProductChange)][4:]
    # Of each writer: nine creations of three, eight changes, eight observations; less the five that were undone
    assert len(all_of_it) == 4 * (9 * 3 + 8 + 8 - (2 * 3 + 1 + 2))
    assert follower.found == all_of_it


# Processes that create products, two at a time, so many times, or until they are killed. They are forks of one process,
# because to start each of them anew takes a second; it says who they are, and how they ended.
WRITE = """
import os
import sys
from datetime import UTC, datetime
from sqlalchemy.orm import sessionmaker
from productagg.catalog.batch_creation import NewProduct, create_many
from productagg.db.engines import writer_engine
from productagg.settings import database_url

def write(name, times):
    sessions = sessionmaker(writer_engine(database_url(sys.argv[1])))
    for number in range(times):
        with sessions.begin() as session:
            new = [NewProduct(f"{name} {number} {copy}", "") for copy in range(2)]
            create_many(session, new, datetime.now(UTC))

writers = []
for name, times in (("one", 20), ("another", 20), ("killed", 1_000_000)):
    writers.append(os.fork())
    if not writers[-1]:
        status = 1
        try:
            write(name, times)
            status = 0
        finally:
            os._exit(status)
print(*writers, flush=True)
for writer in writers:
    print(os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]), flush=True)
"""


@pytest.mark.processes
def test_a_follower_beside_processes_of_which_one_is_killed_sees_what_was_committed(database):
    follower = Follower(database)
    with (
        subprocess.Popen([sys.executable, "-c", WRITE, database.url], stdout=subprocess.PIPE, text=True) as parent,
        ThreadPoolExecutor(1) as pool,
    ):
        said = parent.stdout
        assert said is not None
        endless = int(said.readline().split()[2])
        try:
            others = pool.submit(lambda: [said.readline() for _ in range(2)])
            while not others.done():
                follower.read()
        finally:
            os.kill(endless, signal.SIGKILL)
        ended = [int(line) for line in [*others.result(), said.readline()]]
    follower.catch_up()

    assert ended == [0, 0, -signal.SIGKILL]
    assert follower.found == [(row.sequence, row.product_id) for row in rows(database, ProductChange)]
    assert sorted(product_id for _, product_id in follower.found) == [row.id for row in rows(database, Product)]


@only_postgresql
class TestBesideOthers:
    """PostgreSQL: what a transaction has recorded, nobody sees, and nobody gets a later number, before it has ended."""

    WAITING = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    @pytest.fixture
    def other(self, database):
        """Record something in a thread, and return when it waits for its turn: `other(product_id)`."""
        with ThreadPoolExecutor(1) as pool, database.reader.connect() as connection:

            def write(product_id):
                with database.sessions.begin() as session:
                    record(session, [Event(product_id, "created", NOON)])

            def start(product_id):
                waiting = pool.submit(write, product_id)
                wait_until(lambda: connection.execute(self.WAITING).scalar_one() == 1)
                return waiting

            yield start

    @pytest.mark.parametrize("end", ["commit", "rollback", "killed"])
    def test_the_next_one_waits_until_it_has_ended_however_that_is(self, database, other, news, end):
        session = database.sessions()
        record(session, [Event(ONE, "created", NOON)])
        write_pending(session)
        waiting = other(OTHER)
        assert news() == []

        if end == "killed":
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            with database.reader.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            session.invalidate()
        else:
            getattr(session, end)()
        session.close()

        waiting.result(10)
        first = [("created", ONE)] if end == "commit" else []
        assert news() == [*first, ("created", OTHER)]

    def test_a_transaction_that_does_not_end_is_ended_by_the_database(self, database, other, news):
        session = database.sessions()
        record(session, [Event(ONE, "created", NOON)])
        write_pending(session)
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "15s"
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '300ms'"))

        other(OTHER).result(10)

        with pytest.raises(OperationalError):
            session.commit()
        session.invalidate()
        assert news() == [("created", OTHER)]
