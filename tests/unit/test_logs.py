"""How log lines look: one per record, with the id of the request, in either format."""

import contextvars
import io
import json
import logging
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from productagg import logs
from tests.integration.conftest import wait_until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\w+) +\[([^]]+)\] \[([^]]+)\] (.*)")
# What starts a line somewhere: in a terminal, in an editor, in Python.
BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
FORGED = "2026-01-01T00:00:00.000Z INFO  [productagg] [-] all is well"


@pytest.fixture
def root():
    """The root logger without any set-up, which it gets back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield root
    root.handlers[:], root.level = before, level


@pytest.fixture
def written(root):
    """Configure a format, and call the result for what has been logged since."""

    def configure(log_format):
        stream = io.StringIO()
        root.handlers[:] = [logging.StreamHandler(stream)]
        root.setLevel(logging.INFO)
        logs.configure(log_format)

        def read():
            text = stream.getvalue()
            stream.seek(0)
            stream.truncate()
            return text

        return read

    return configure


@pytest.fixture
def log():
    return logging.getLogger("productagg.tests")


@pytest.fixture
def far_away(monkeypatch):
    """A machine whose local time is far from UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        yield
    time.tzset()


class TestText:
    def test_a_line_has_time_level_logger_request_id_and_message(self, written, log, far_away):
        read = written("text")

        log.warning("%d products wait", 3)

        line = read()
        assert abs(datetime.now(UTC) - datetime.fromisoformat(line.split()[0])) < timedelta(minutes=1)
        assert parts(line) == ("WARNING", "productagg.tests", "-", "3 products wait")

    @pytest.mark.parametrize(("name", "shown"), [("shop", "shop"), ("a shop", '"a shop"'), ('"x"', r'"\"x\""')])
    def test_a_line_of_a_source_names_it(self, written, log, name, shown):
        read = written("text")

        with logs.of_source(name):
            log.warning("%d products wait", 3)
        log.warning("done")

        assert [parts(line)[-1] for line in read().splitlines()] == [f"source={shown} 3 products wait", "done"]

    def test_the_name_of_a_source_cannot_start_a_line(self, written, log):
        read = written("text")

        with logs.of_source(f"x\n{FORGED}"):
            log.info("a message")

        assert len(read().splitlines()) == 1

    def test_the_lines_of_an_exception_are_indented(self, written, log):
        read = written("text")

        log_an_exception(log, "the disk is full")

        first, *others = read().splitlines()
        assert LINE.fullmatch(first)
        assert others[0] == "    Traceback (most recent call last):"
        assert others[-1] == "    ValueError: the disk is full"

    @pytest.mark.parametrize("line_break", [*BREAKS, "\r\n"])
    def test_a_message_cannot_start_a_line(self, written, log, line_break):
        read = written("text")

        log.info("name: %s", f"x{line_break}{FORGED}")

        assert len(read().splitlines()) == 1

    @pytest.mark.parametrize("line_break", [*BREAKS, "\r\n"])
    def test_an_exception_cannot_forge_a_line(self, written, log, line_break):
        read = written("text")

        log_an_exception(log, f"x{line_break}{FORGED}")

        first, *others = read().splitlines()
        assert LINE.fullmatch(first)
        assert all(line.startswith("    ") for line in others)

    def test_an_exception_formatted_by_another_handler_cannot_forge_a_line(self, written, log, root):
        read = written("text")
        first = logging.StreamHandler(io.StringIO())
        first.setFormatter(logging.Formatter())
        root.handlers.insert(0, first)

        log_an_exception(log, f"x\n{FORGED}")

        assert sum(line.startswith("20") for line in read().splitlines()) == 1

    def test_a_stack_is_indented_too(self, written, log):
        read = written("text")

        log.info("here", stack_info=True)

        first, *others = read().splitlines()
        assert LINE.fullmatch(first)
        assert len(others) > 1 and all(line.startswith("    ") for line in others)

    def test_a_message_cannot_control_the_terminal(self, written, log):
        read = written("text")

        log.info("\x1b[2J\x08\x9b\x7fgone\ttab")

        assert read().endswith("\\x1b[2J\\x08\\x9b\\x7fgone\ttab\n")


class TestJSON:
    def test_a_line_is_an_object_with_the_same_parts(self, written, log, far_away):
        read = written("json")

        log.warning("%d products wait", 3)

        record = json.loads(read())
        assert abs(datetime.now(UTC) - datetime.fromisoformat(record.pop("time"))) < timedelta(minutes=1)
        assert record == {
            "level": "WARNING",
            "logger": "productagg.tests",
            "request_id": "-",
            "message": "3 products wait",
        }

    @pytest.mark.parametrize("line_break", [*BREAKS, "\r\n", '"}\n{"message": "'])
    def test_neither_a_message_nor_an_exception_can_start_a_line(self, written, log, line_break):
        read = written("json")

        log_an_exception(log, f"x{line_break}{FORGED}")
        log.info("x%s", line_break)

        first, second = (json.loads(line) for line in read().splitlines())
        assert first["exc_info"].endswith(f"ValueError: x{line_break}{FORGED}")
        assert second["message"] == f"x{line_break}"


@pytest.mark.parametrize("log_format", ["text", "json"])
class TestEitherFormat:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(message=st.text(st.characters(codec="utf-8")))
    def test_whatever_is_logged_is_one_line(self, written, log, log_format, message):
        read = written(log_format)

        log.info("%s", message)

        text = read()
        assert text.endswith("\n")
        assert len(text.splitlines()) == 1

    def test_every_line_has_the_id_of_the_request_that_caused_it(self, written, log, log_format):
        read = written(log_format)

        def answer(request_id):
            logs.request_id.set(request_id)
            log.info("asked")
            logging.getLogger("some.package").info("asked")

        contextvars.copy_context().run(answer, "first-request")
        contextvars.copy_context().run(answer, "second-request")
        log.info("tidied up")

        assert [request_id(line) for line in read().splitlines()] == [
            *["first-request"] * 2,
            *["second-request"] * 2,
            "-",
        ]

    def test_requests_in_other_threads_have_ids_of_their_own(self, written, log, log_format):
        read = written(log_format)

        def request():
            thread = threading.Thread(target=log.info, args=["asked"])
            logs.request_id.set("first-request")
            thread.start()
            thread.join()

        contextvars.copy_context().run(request)

        assert request_id(read()) == "-"

    def test_configuring_twice_changes_nothing(self, root, log, log_format):
        streams = [io.StringIO(), io.StringIO()]
        root.handlers[:] = [logging.StreamHandler(stream) for stream in streams]
        root.setLevel(logging.INFO)

        logs.configure(log_format)
        logs.configure(log_format)
        log.info("hello")

        assert len({stream.getvalue() for stream in streams}) == 1
        assert request_id(streams[0].getvalue()) == "-"
        assert [len(handler.filters) for handler in root.handlers] == [1, 1]

    def test_without_handlers_lines_go_to_stderr(self, root, log, log_format, monkeypatch):
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        root.handlers.clear()

        logs.configure(log_format)
        log.info("hello")
        log.debug("not this")

        assert len(stderr.getvalue().splitlines()) == 1
        assert request_id(stderr.getvalue()) == "-"


class TestBatches:
    @pytest.fixture
    def batched(self, written):
        """Batches as in the web service: a function that reads what was written, and the handler."""
        read = written("text")
        logs.write_in_batches()
        (handler,) = logging.getLogger().handlers
        return read, handler

    def test_a_line_is_written_soon(self, batched, log):
        read, handler = batched

        log.info("hello")

        wait_until(handler.stream.getvalue)
        assert parts(read())[3] == "hello"

    def test_a_warning_is_written_at_once_after_all_earlier_lines(self, batched, log):
        read, _ = batched

        for number in range(50):
            log.info("%d", number)
        log.warning("now")

        assert [parts(line)[3] for line in read().splitlines()] == [*map(str, range(50)), "now"]

    def test_a_line_has_the_id_of_the_request_that_caused_it(self, batched, log):
        read, _ = batched

        def answer(request_id):
            logs.request_id.set(request_id)
            log.info("asked")

        contextvars.copy_context().run(answer, "first-request")
        contextvars.copy_context().run(answer, "second-request")
        log.warning("now")

        assert [request_id(line) for line in read().splitlines()] == ["first-request", "second-request", "-"]

    def test_no_line_is_lost_and_the_lines_of_a_thread_stay_in_order(self, batched, log):
        read, handler = batched

        def work(who):
            for number in range(200):
                log.log(logging.WARNING if number % 50 == 7 else logging.INFO, "%d %d", who, number)

        threads = [threading.Thread(target=work, args=[who]) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handler.flush()

        said = [tuple(map(int, parts(line)[3].split())) for line in read().splitlines()]
        for who in range(4):
            assert [number for whose, number in said if whose == who] == list(range(200))

    def test_a_blocked_write_does_not_block_other_threads(self, root, log):
        stream = BlockedStream()
        handle_in_batches(root, stream)
        writer = threading.Thread(target=log.warning, args=["blocked"])

        writer.start()
        assert stream.is_writing.wait(10)
        log.info("hello")

        assert writer.is_alive()
        stream.unblock()
        writer.join(10)

    def test_with_too_many_waiting_lines_a_thread_blocks_instead_of_adding_its_line(self, root, log):
        stream = BlockedStream()
        handler = handle_in_batches(root, stream, max_waiting_records=10)
        first, second = (threading.Thread(target=log.info, args=["%d", number]) for number in (9, 19))

        for number in range(9):
            log.info("%d", number)
        first.start()
        assert stream.is_writing.wait(10)
        for number in range(10, 19):
            log.info("%d", number)
        second.start()
        second.join(0.05)

        assert first.is_alive() and second.is_alive()
        stream.unblock()
        for thread in (first, second):
            thread.join(10)
        handler.flush()
        assert [int(parts(line)[3]) for line in stream.getvalue().splitlines()] == list(range(20))

    def test_a_write_has_whole_lines_and_fits_an_atomic_write(self, root, log):
        stream = RecordingStream()
        handler = handle_in_batches(root, stream)

        for number in range(300):
            log.info("%d %s", number, "ž" * (number % 200))
        log.info("x" * 10_000)
        handler.flush()

        assert all(written.endswith("\n") for written in stream.writes)
        assert [len(written.encode()) > 4096 for written in stream.writes] == [False] * (len(stream.writes) - 1) + [
            True
        ]
        assert 10 < len(stream.writes) < 50
        assert "".join(stream.writes).count("\n") == 301

    def test_a_stream_that_cannot_be_written_to_raises_nothing(self, batched, log, monkeypatch):
        read, handler = batched
        gone = io.StringIO()
        gone.close()
        monkeypatch.setattr(sys, "stderr", gone)
        stream = handler.setStream(gone)

        log.warning("lost")
        log.info("lost as well")
        handler.flush()
        handler.setStream(stream)
        log.warning("hello")

        assert parts(read())[3] == "hello"

    def test_a_line_that_cannot_be_formatted_does_not_lose_the_others(self, batched, log, capsys):
        read, handler = batched

        log.info("before")
        # Not by the logger: pytest would object.
        handler.handle(log.makeRecord(log.name, logging.INFO, __file__, 1, "%d", ("no number",), None))
        log.warning("after")

        assert [parts(line)[3] for line in read().splitlines()] == ["before", "after"]
        assert "no number" in capsys.readouterr().err

    @pytest.mark.processes
    def test_waiting_lines_are_written_at_the_end_of_the_process(self):
        program = (
            "import logging; from productagg import logs; logs.configure('text'); root = logging.getLogger();"
            "root.handlers = [logs.BatchHandler(root.handlers[0], flush_interval_seconds=1000)]; logging.info('hello')"
        )

        done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=True)

        assert done.stderr.endswith(" hello\n")

    def test_other_handlers_and_the_level_stay(self, root, log):
        stream, other = io.StringIO(), logging.NullHandler()
        root.handlers[:] = [logging.StreamHandler(stream), other]
        root.handlers[0].setLevel(logging.WARNING)
        logs.configure("text")

        logs.write_in_batches()
        log.info("not this")
        log.warning("hello")

        assert root.handlers[1] is other
        assert [parts(line)[3] for line in stream.getvalue().splitlines()] == ["hello"]


class BlockedStream(io.StringIO):
    """A stream whose reader does not read until `unblock()`."""

    def __init__(self):
        super().__init__()
        self.is_writing = threading.Event()
        self._is_read = threading.Event()

    def write(self, text):
        self.is_writing.set()
        assert self._is_read.wait(10)
        return super().write(text)

    def unblock(self):
        self._is_read.set()


class RecordingStream(io.StringIO):
    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, text):
        self.writes.append(text)
        return super().write(text)


def handle_in_batches(root, stream, **options):
    """Make the root logger write to the stream in batches, but not regularly; return the handler."""
    root.handlers[:] = [logging.StreamHandler(stream)]
    root.setLevel(logging.INFO)
    logs.configure("text")
    root.handlers[:] = [logs.BatchHandler(root.handlers[0], flush_interval_seconds=1000, **options)]
    return root.handlers[0]


def log_an_exception(log, message):
    try:
        raise ValueError(message)  # noqa: TRY301
    except ValueError:
        log.exception("it failed")


def request_id(line):
    return json.loads(line)["request_id"] if line.startswith("{") else parts(line)[2]


def parts(line):
    """Level, logger, request id and message of a line in the text format."""
    match = LINE.fullmatch(line.removesuffix("\n"))
    assert match, line
    return match.groups()
