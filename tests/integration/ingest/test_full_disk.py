"""PostgreSQL has no disk space, no memory or another failure: points are kept and tried again, never refused."""

from __future__ import annotations

import asyncio

import pytest

from runstream_service.ingest import writer as writer_module
from tests.integration.ingest.conftest import acknowledged

_FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{state}';
END $$;
CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail();
"""
_ERRORS = {"53100": "DiskFullError", "53200": "OutOfMemoryError", "58030": "PostgresIOError"}
# The step in which the writer meets it: begin_group_commit, or the rows.
_TABLES = ["commits", "hot_batches_1"]


@pytest.mark.parametrize("table", _TABLES)
@pytest.mark.parametrize("state", _ERRORS)
async def test_points_wait_for_postgres_to_have_room_again(database, replica, run_id, stored, state, table):
    stream = await replica.open(run_id)
    await database.execute(_FAIL.format(state=state, table=table))
    await replica.send(stream, 1, [1.0, 2.0])
    await replica.send(stream, 2, [3.0])
    await _failed(replica, _ERRORS[state], times=3)
    assert await stored() == []
    assert replica.metric("runstream_queue_points") > 0
    await database.execute(f"DROP TRIGGER fail ON {table}")
    assert await acknowledged(stream, 2) == []
    assert await stored() == [(1, 1.0), (1, 2.0), (1, 3.0)]
    assert replica.metric("runstream_points_committed_total") == 3
    assert replica.metric("runstream_queue_points") == 0


async def test_when_the_database_is_back_nobody_waits_for_the_next_try(database, replica, run_id, monkeypatch):
    for name in ("_FIRST_BACKOFF_S", "_LONGEST_BACKOFF_S"):
        monkeypatch.setattr(writer_module, name, 1_000.0)
    stream = await replica.open(run_id)
    await database.execute(_FAIL.format(state="53100", table="commits"))
    await replica.send(stream, 1, [1.0])
    await _failed(replica, "DiskFullError", times=1)
    await database.execute("DROP TRIGGER fail ON commits")
    await replica.pipeline.on_readiness(True)
    assert await acknowledged(stream, 1) == []


async def _failed(replica, error: str, *, times: int) -> None:
    give_up = asyncio.get_running_loop().time() + 30
    while replica.metric("runstream_group_commit_failures_total", error=error) < times:
        assert asyncio.get_running_loop().time() < give_up, "the group did not fail"
        await asyncio.sleep(0.01)
