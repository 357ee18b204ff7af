"""Which requests the server's threads answer: reads always find a thread, writes wait for one of their half."""

import threading

import pytest

from productagg.server import dispatcher as module
from productagg.server.dispatcher import Dispatcher
from tests.integration.conftest import wait_until

THREADS = 4


class Task:
    """A request of such a kind, which takes until it is let go."""

    def __init__(self, kind):
        self.kind = kind
        self.waiting_since = None
        self.began, self.may_end = threading.Event(), threading.Event()
        self.was_refused = False

    def service(self):
        self.began.set()
        assert self.may_end.wait(10)

    def refuse(self):
        self.was_refused, self.kind = True, "read"


@pytest.fixture
def dispatcher():
    """Its threads stay; they wait for nothing but tasks."""
    return Dispatcher(THREADS)


@pytest.fixture
def add(dispatcher):
    added = []

    def add(*kinds):
        tasks = [Task(kind) for kind in kinds]
        added.extend(tasks)
        for task in tasks:
            dispatcher.add_task(task)
        return tasks

    yield add
    for task in added:
        task.may_end.set()
    wait_until(lambda: dispatcher.is_idle)


def running(tasks):
    return [task.began.is_set() for task in tasks]


def test_reads_find_a_thread_however_many_write(dispatcher, add):
    writes = add(*["write"] * 10)
    reads = add(*["read"] * (THREADS // 2))

    assert all(task.began.wait(10) for task in reads)
    assert running(writes) == [True] * (THREADS // 2) + [False] * 8
    assert not dispatcher.is_idle


def test_what_waits_runs_in_its_order_as_others_end(add):
    first, second, third, fourth = add(*["write"] * 4)
    assert first.began.wait(10) and second.began.wait(10)

    second.may_end.set()

    assert third.began.wait(10)
    assert not fourth.began.is_set()


def test_of_large_ones_one_runs_at_a_time_and_others_that_write_beside_it(add):
    large, larger, write, more = add("large", "large", "write", "write")

    assert large.began.wait(10) and write.began.wait(10)
    large.may_end.set()

    assert larger.began.wait(10)
    assert not more.began.is_set()


def test_a_single_thread_answers_all_kinds():
    dispatcher = Dispatcher(1)
    tasks = [Task(kind) for kind in ("write", "large", "read")]
    for task in tasks:
        task.may_end.set()
        dispatcher.add_task(task)

    assert all(task.began.wait(10) for task in tasks)


def test_tasks_that_fail_give_their_places_back(dispatcher, caplog):
    class Fails(Task):
        def service(self):
            self.began.set()
            raise RuntimeError

    tasks = [Fails("write") for _ in range(2 * THREADS)]
    for task in tasks:
        dispatcher.add_task(task)

    assert all(task.began.wait(10) for task in tasks)
    wait_until(lambda: dispatcher.is_idle)


def test_what_has_waited_for_too_long_is_refused_by_any_thread(dispatcher, add, monkeypatch):
    writes = add("write", "write", "write", "large")
    wait_until(lambda: running(writes)[:2] == [True, True])

    dispatcher.refuse_late()
    assert not any(task.was_refused for task in writes)
    monkeypatch.setattr(module, "_LONGEST_SECONDS", {"read": 1e9, "write": 0, "large": 1e9})
    dispatcher.refuse_late()

    assert writes[2].began.wait(10)
    assert [task.was_refused for task in writes] == [False, False, True, False]


def test_all_that_wait_to_write_are_refused_when_the_time_is_up(dispatcher, add):
    writes = add("write", "write", "write", "large")
    wait_until(lambda: running(writes)[:2] == [True, True])

    dispatcher.refuse_late(all_that_write=True)

    assert writes[2].began.wait(10) and writes[3].began.wait(10)
    assert [task.was_refused for task in writes] == [False, False, True, True]
