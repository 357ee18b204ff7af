"""Which requests the server's threads answer: reads always find a thread, writes share half of the threads."""

import threading

import pytest

from productagg.server.dispatcher import Dispatcher
from tests.integration.conftest import wait_until

THREADS = 4


class Task:
    """A request of the given kind that runs until its `may_end` is set."""

    def __init__(self, kind):
        self.kind = kind
        self.waiting_since = 0.0
        self.began, self.may_end = threading.Event(), threading.Event()
        self.was_refused = False

    def service(self):
        self.began.set()
        assert self.may_end.wait(10)

    def refuse(self):
        self.was_refused, self.kind = True, "read"


@pytest.fixture
def adder():
    """Make a function that adds tasks to a dispatcher. All tasks end with the test."""
    added: list[tuple[Dispatcher, Task]] = []

    def adder(dispatcher):
        def add(*kinds):
            tasks = [Task(kind) for kind in kinds]
            added.extend((dispatcher, task) for task in tasks)
            for task in tasks:
                dispatcher.add_task(task)
            return tasks

        return add

    yield adder
    for _, task in added:
        task.may_end.set()
    for dispatcher, _ in added:
        wait_until(lambda dispatcher=dispatcher: dispatcher.is_idle)


@pytest.fixture
def dispatcher():
    """Its threads outlive the test; they wait for tasks and do nothing else."""
    return Dispatcher(THREADS)


@pytest.fixture
def add(adder, dispatcher):
    return adder(dispatcher)


def running(tasks):
    return [task.began.is_set() for task in tasks]


def test_reads_find_a_thread_however_many_writes_there_are(dispatcher, add):
    writes = add(*["write"] * 10)
    reads = add(*["read"] * (THREADS // 2))

    assert all(task.began.wait(10) for task in reads)
    assert running(writes) == [True] * (THREADS // 2) + [False] * 8
    assert not dispatcher.is_idle


def test_waiting_tasks_run_in_order_as_others_end(add):
    first, second, third, fourth = add(*["write"] * 4)
    assert first.began.wait(10) and second.began.wait(10)

    second.may_end.set()

    assert third.began.wait(10)
    assert not fourth.began.is_set()


def test_one_large_request_runs_at_a_time_with_another_write_beside_it(add):
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


def test_tasks_that_fail_free_their_threads(dispatcher, caplog):
    class Fails(Task):
        def service(self):
            self.began.set()
            raise RuntimeError

    tasks = [Fails("write") for _ in range(2 * THREADS)]
    for task in tasks:
        dispatcher.add_task(task)

    assert all(task.began.wait(10) for task in tasks)
    wait_until(lambda: dispatcher.is_idle)


def test_a_task_that_has_not_waited_long_is_not_refused(dispatcher, add):
    writes = add("write", "write", "write", "large")
    wait_until(lambda: running(writes)[:2] == [True, True])

    dispatcher.refuse_overdue()

    assert not any(task.was_refused for task in writes)


def test_a_task_that_has_waited_too_long_is_refused_by_any_thread(adder):
    dispatcher = Dispatcher(THREADS, max_wait_seconds={"read": 1e9, "write": 0, "large": 1e9})
    writes = adder(dispatcher)("write", "write", "write", "large")
    wait_until(lambda: running(writes)[:2] == [True, True])

    dispatcher.refuse_overdue()

    assert writes[2].began.wait(10)
    assert [task.was_refused for task in writes] == [False, False, True, False]


def test_all_waiting_writes_are_refused_when_the_time_is_up(dispatcher, add):
    writes = add("write", "write", "write", "large")
    wait_until(lambda: running(writes)[:2] == [True, True])

    dispatcher.refuse_overdue(all_writes=True)

    assert writes[2].began.wait(10) and writes[3].began.wait(10)
    assert [task.was_refused for task in writes] == [False, False, True, True]
