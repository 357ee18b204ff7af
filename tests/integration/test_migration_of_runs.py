"""Revision 0005 adds to the runs of a database of 0004 what they did at each source, and takes nothing from them."""

from uuid import uuid4

import pytest

from productagg.sync import run_log
from tests.factories import LONG_AGO
from tests.integration.migrated_tables import columns, contents, reflected

NEW = ["lost_after", "sources"]


@pytest.fixture
def old(blank_database):
    """A database of 0004 with a run that ended and one that did not."""
    blank_database.migrate("0004")
    counts = dict.fromkeys(("leased", "fetched", "changed", "closed", "failed", "requests", "bytes"), 7)
    run = {"host": "a-host", "started_at": LONG_AGO, "failures": {"not JSON": 7}, "longest_wait_seconds": 0.5, **counts}
    ends: list[dict[str, object]] = [
        {"finished_at": LONG_AGO, "ended_by": "done"},
        {"finished_at": None, "ended_by": None},
    ]
    with blank_database.writer.begin() as connection:
        for end in ends:
            connection.execute(reflected(blank_database)["sync_runs"].insert().values(id=uuid4(), **run, **end))
    return blank_database


def test_the_upgrade_keeps_every_run_and_a_downgrade_too(old):
    all_columns = columns(old)
    before = contents(old, all_columns)

    old.migrate("0005")
    upgraded, added = contents(old, all_columns), contents(old, {"sync_runs": NEW})
    old.migrate("0004", down=True)

    assert len(before["sync_runs"]) == 2
    assert upgraded == before == contents(old, all_columns)
    assert added["sync_runs"] == [(None, None)] * 2
    assert not set(NEW) & set(reflected(old)["sync_runs"].columns.keys())


def test_upgraded_runs_can_be_read(old):
    old.migrate()

    with old.reader.connect() as connection:
        runs = run_log.page(connection, 10).runs

    assert {(run["state"], run["leased"], tuple(run["sources"])) for run in runs} == {
        ("finished", 7, ()),
        ("lost", 7, ()),
    }
