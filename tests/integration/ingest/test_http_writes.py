"""HTTP metric writes in a group commit. As in test_group_commit.py, steps are tested twice: with the step, the promise
holds; with the step left out, the same scenario breaks it."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import UUID, uuid4

import numpy as np
import pytest

from runstream_service.core.experiments import Experiments
from runstream_service.core.runs import Runs
from runstream_service.errors.core import (
    CommitFailed,
    DatabaseUnavailable,
    Draining,
    Fenced,
    Overloaded,
    RunDeleted,
    RunNotFound,
)
from runstream_service.ingest.group import SMALL_GROUP_POINTS
from runstream_service.ingest.http_writes import HttpIngest, RunPoints
from runstream_service.ingest.producer import MIN_CHARGE_POINTS
from runstream_service.ingest.writer_router import SHARED_GROUP_POINTS
from runstream_service.retention.expiry import WriteIdExpiry
from runstream_service.stores.hot_batches import BatchPoints, EncodedBatches
from runstream_service.stores.hot_store import COMMIT_SMALL
from tests.integration.ingest.conftest import TIME, acknowledged, fail_for, mutate, new_run, running_replica
from tests.integration.ingest.test_group_commit import BEGIN
from tests.support.callers import ANYONE, caller_in
from tests.support.hot import copy_batches
from tests.support.locks import waiting_for_a_lock, waiting_for_locks, waits_for_a_lock
from tests.support.points import columns
from tests.support.polling import until

SIZES = pytest.mark.parametrize("count", [1, SMALL_GROUP_POINTS + 1], ids=["in one statement", "with COPY"])


@pytest.fixture
def runs(database) -> Runs:
    return Runs(database, Experiments(database))


def points(run_id: UUID, values: list[float], *, key: str = "loss", write_id: UUID | None = None) -> RunPoints:
    count = len(values)
    return RunPoints(
        run_id,
        write_id or uuid4(),
        [key] * count,
        np.arange(count, dtype=np.int64),
        np.full(count, TIME, np.int64),
        np.array(values, np.float64),
    )


async def _stored_values(database) -> list[float]:
    return [row["value"] for row in await database.fetch("SELECT value FROM metric_points_hot ORDER BY value")]


# What is stored -------------------------------------------------------------------------------------------------------


@SIZES
async def test_points_are_stored_as_they_came(database, replica, run_id, count):
    values = [*([0.5] * (count - 1)), float("-inf")]
    await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, values))
    assert await _stored_values(database) == sorted(values)
    row = await database.fetchrow("SELECT key, rank, attempt, count(*) FROM series GROUP BY key, rank, attempt")
    assert tuple(row) == ("loss", -1, 0, 1)
    assert await database.fetchval("SELECT sum(point_count) FROM commits") == count
    assert (
        await database.fetchval("SELECT max(extract(epoch FROM time) * 1000000)::bigint FROM metric_points_hot") == TIME
    )


async def test_writes_and_batches_of_streams_share_a_group(database, run_id):
    async with running_replica(database, writers=1) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [0.0]))
        stream = await replica.open(run_id)
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM producers FOR UPDATE")
            await replica.send(stream, 1, [1.0])
            await waiting_for_locks(database)
            # These become one group, the next.
            waiting = [asyncio.create_task(writes.write(ANYONE, points(run_id, [value]))) for value in (2.0, 3.0)]
            await replica.send(stream, 2, [4.0])
            await until(lambda: replica.metric("runstream_queue_points") == 4 * MIN_CHARGE_POINTS)
        await asyncio.gather(*waiting)
        await acknowledged(stream, 2)
    assert await _stored_values(database) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert await database.fetchval("SELECT max(point_count) FROM commits") == 3


async def _a_group_in_one_statement(database, run_id) -> tuple[list[str], list[float]]:
    """A producer whose first batch is committed already, one that is fenced, a write that came before, a new one. The
    verdicts, and what is stored then."""
    repeated = uuid4()
    async with running_replica(database) as replica:
        stream, fenced = await replica.open(run_id), await replica.open(run_id, rank=1)
        await replica.send(stream, 1, [1.0])
        await acknowledged(stream, 1)
        await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, [2.0], write_id=repeated))
    series_id = await database.fetchval("SELECT min(series_id) FROM series")
    # The rows: of each, the place of its verdict, the number of its batch, and its values.
    rows = [(1, 1, [1.0]), (1, 2, [3.0, 4.0]), (2, 1, [-1.0]), (3, 1, [2.0]), (4, 1, [5.0, 6.0])]
    encoded = EncodedBatches([_batch(run_id, series_id, values) for _, _, values in rows])
    writer = await database.connect_writer()
    try:
        verdicts = await writer.fetch(
            COMMIT_SMALL,
            [stream.producer_id, fenced.producer_id], [stream.session, 0], [1, 1], [2, 1],
            [1, 1, 2], [1, 2, 1], [1, 2, 1],
            [repeated, uuid4()], [run_id] * 2, [0] * 2, [1, 2],
            [owner for owner, _, _ in rows], [number for _, number, _ in rows], *encoded.arguments(),
        )  # fmt: skip
    finally:
        await writer.close()
    return [row["verdict"] for row in verdicts], await _stored_values(database)


def _batch(run_id: UUID, series_id: int, values: list[float]) -> BatchPoints:
    count = len(values)
    columns = np.full(count, series_id), np.arange(count), np.full(count, TIME)
    return BatchPoints(run_id, 0, *columns, np.array(values))


async def test_of_a_group_in_one_statement_only_what_is_new_is_stored(database, run_id):
    verdicts, stored = await _a_group_in_one_statement(database, run_id)
    assert verdicts == ["advanced", "fenced", "duplicate", "advanced"]
    assert stored == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert await database.fetchval("SELECT sum(point_count) FROM commits") == len(stored)


@pytest.mark.parametrize(
    ("step", "too_many"),
    [("($11)[r.owner] = ''advanced''", [-1.0, 2.0]), ("r.number > ($12)[r.owner]", [1.0])],
    ids=["verdicts", "numbers"],
)
async def test_without_a_look_at_the_verdict_of_each_row_more_would_be_stored(database, run_id, step, too_many):
    await mutate(database, "commit_batches", step, "true")
    _, stored = await _a_group_in_one_statement(database, run_id)
    assert stored == sorted([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, *too_many])


# Repeats --------------------------------------------------------------------------------------------------------------


@SIZES
async def test_a_repeat_stores_nothing_on_whichever_replica(database, replica, other_replica, run_id, count):
    write_id = uuid4()
    for where in (replica, other_replica, replica):
        await HttpIngest(database, where.pipeline).write(ANYONE, points(run_id, [1.0] * count, write_id=write_id))
    assert await _stored_values(database) == [1.0] * count
    assert replica.metric("runstream_batches_duplicate_total") == 1


async def test_without_the_ids_a_repeat_would_double_points(database, replica, run_id):
    await mutate(
        database,
        "begin_group_commit",
        "CASE WHEN n.write_id IS NULL THEN 'duplicate' ELSE 'advanced' END",
        "'advanced'",
    )
    writes, write_id = HttpIngest(database, replica.pipeline), uuid4()
    for _ in range(2):
        await writes.write(ANYONE, points(run_id, [1.0], write_id=write_id))
    assert await _stored_values(database) == [1.0, 1.0]


async def test_repeats_that_come_all_at_once_are_one(database, replica, other_replica, run_id):
    write_id = uuid4()
    places = [HttpIngest(database, where.pipeline) for where in (replica, other_replica)] * 20
    await asyncio.gather(*(place.write(ANYONE, points(run_id, [1.0], write_id=write_id)) for place in places))
    assert await _stored_values(database) == [1.0]


async def test_ids_are_forgotten_after_an_hour(database, replica, run_id):
    writes, write_id = HttpIngest(database, replica.pipeline), uuid4()
    await writes.write(ANYONE, points(run_id, [1.0], write_id=write_id))
    await writes.write(ANYONE, points(run_id, [2.0]))
    assert await WriteIdExpiry(database).run_once() == 0
    await database.execute(
        "UPDATE http_writes SET written_at = now() - interval '61 minutes' WHERE write_id = $1", write_id
    )
    assert await WriteIdExpiry(database).run_once() == 1
    assert await database.fetchval("SELECT count(*) FROM http_writes") == 1


# Runs and series that go ----------------------------------------------------------------------------------------------


async def test_runs_that_are_not_there_or_deleted_take_nothing(database, replica, run_id, runs):
    writes = HttpIngest(database, replica.pipeline)
    with pytest.raises(RunNotFound):
        await writes.write(ANYONE, points(uuid4(), [1.0]))
    with pytest.raises(RunNotFound):
        await writes.write(caller_in(2, principal="mallory"), points(run_id, [1.0]))
    await writes.write(ANYONE, points(run_id, [1.0]))
    await runs.delete(ANYONE, run_id.hex)
    with pytest.raises(RunDeleted):  # the series are remembered: the group finds out
        await writes.write(ANYONE, points(run_id, [2.0]))
    with pytest.raises(RunDeleted):
        await writes.write(ANYONE, points(run_id, [2.0], key="new"))
    await runs.restore(ANYONE, run_id.hex)
    await writes.write(ANYONE, points(run_id, [3.0]))
    assert await _stored_values(database) == [1.0, 3.0]


async def _write_after_a_deletion_of_series(database, replica, run_id, runs) -> list[float]:
    """Which of the values 1 and 2 readers see after the series were deleted in between."""
    writes = HttpIngest(database, replica.pipeline)
    await writes.write(ANYONE, points(run_id, [1.0]))
    assert await runs.delete_series(ANYONE, run_id.hex, ["loss"]) == 1
    await writes.write(ANYONE, points(run_id, [2.0]))
    rows = await database.fetch(
        "SELECT value FROM metric_points_hot JOIN series USING (series_id) WHERE purge_epoch IS NULL"
    )
    return [row["value"] for row in rows]


async def test_a_write_looks_again_when_its_series_were_deleted(database, replica, run_id, runs):
    assert await _write_after_a_deletion_of_series(database, replica, run_id, runs) == [2.0]


async def test_without_generations_it_would_write_into_a_deleted_series(database, replica, run_id, runs):
    await mutate(database, "begin_group_commit", "r.series_generation <> a.generation", "false")
    assert await _write_after_a_deletion_of_series(database, replica, run_id, runs) == []


async def _delete_while_a_group_is_under_way(database, run_id, runs) -> tuple[bool, int]:
    """Whether the deletion of series waited for the group; and the epoch that its mark says."""
    series_id = await database.fetchval("SELECT series_id FROM resolve_series($1, -1, 0, '{loss}', 10)", run_id)
    async with database.transaction() as connection:
        ((epoch, commit_no, *_),) = await connection.fetch(
            BEGIN, [], [], [], [], [], [], [], [uuid4()], [run_id], [0], [1]
        )
        await copy_batches(connection, columns([(series_id, 7, 0, 7.0)]), epoch, commit_no)
        deletion = asyncio.create_task(runs.delete_series(ANYONE, run_id.hex, ["loss"]))
        waited = await waits_for_a_lock(database, deletion)
    assert await deletion == 1
    return waited, await database.fetchval("SELECT purge_epoch FROM series")


async def test_a_deletion_of_series_waits_for_a_group_and_covers_its_epoch(database, run_id, runs):
    assert await _delete_while_a_group_is_under_way(database, run_id, runs) == (True, 1)


async def test_without_the_lock_of_the_run_points_would_outlive_their_series(database, run_id, runs):
    await mutate(
        database,
        "begin_group_commit",
        "PERFORM 1 FROM runs r WHERE r.run_id = ANY (write_runs) ORDER BY r.run_id FOR SHARE;",
        "",
    )
    # The mark knows of no commit, so the purge would not wait for epoch 1.
    assert await _delete_while_a_group_is_under_way(database, run_id, runs) == (False, 0)


async def test_writes_streams_and_deletions_never_wait_in_a_circle(database, runs):
    ids = [await new_run(database) for _ in range(4)]
    over = asyncio.Event()

    async def write(replica, run_id):
        writes = HttpIngest(database, replica.pipeline)
        while not over.is_set():
            with contextlib.suppress(RunDeleted):
                await writes.write(ANYONE, points(run_id, [1.0]))

    async def stream(replica, run_id):
        while not over.is_set():
            with contextlib.suppress(RunDeleted, Fenced):
                one = await replica.open(run_id)
                await replica.send(one, 1, [1.0])
                await acknowledged(one, 1)

    async with running_replica(database) as one, running_replica(database) as two:
        tasks = [
            asyncio.create_task(work(where, run)) for work in (write, stream) for where in (one, two) for run in ids
        ]
        for _ in range(15):
            for run_id in ids:
                await runs.delete_series(ANYONE, run_id.hex, ["loss"])
                await runs.delete(ANYONE, run_id.hex)
                await runs.restore(ANYONE, run_id.hex)
        over.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        for where in (one, two):
            for error in ("DeadlockDetectedError", "LockNotAvailableError"):
                assert where.metric("runstream_group_commit_failures_total", error=error) == 0


# Back-pressure --------------------------------------------------------------------------------------------------------


async def test_a_full_hot_table_is_reported_at_once(database, run_id):
    async with running_replica(database, hot_points_max=10) as replica:
        replica.pipeline.gate.update(11)
        with pytest.raises(Overloaded):
            await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, [1.0]))
        replica.pipeline.gate.update(0)
        await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, [1.0]))


async def test_a_budget_that_stays_used_up_is_reported_after_a_moment(database, run_id):
    async with running_replica(database, max_queued_points=64) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [1.0]))
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM runs FOR UPDATE")
            held = [asyncio.create_task(writes.write(ANYONE, points(run_id, [2.0]))) for _ in range(2)]
            await until(lambda: replica.metric("runstream_queue_points") == 2 * MIN_CHARGE_POINTS)
            with pytest.raises(Overloaded):
                await writes.write(ANYONE, points(run_id, [3.0]))
        await asyncio.gather(*held)
        await writes.write(ANYONE, points(run_id, [4.0]))
    assert await _stored_values(database) == [1.0, 2.0, 2.0, 4.0]


async def test_a_write_without_an_outcome_is_answered_and_may_be_repeated(database, other_replica, run_id):
    write = points(run_id, [1.0])
    async with running_replica(database, write_timeout_s=1.0) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [0.0]))  # looks the series up, which the lock would hold up
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM runs FOR UPDATE")
            with pytest.raises(DatabaseUnavailable):
                await writes.write(ANYONE, write)
        await HttpIngest(database, other_replica.pipeline).write(ANYONE, write)
    assert await _stored_values(database) == [0.0, 1.0]


async def test_a_write_whose_caller_waits_no_longer_is_still_under_way_with_its_writer(database):
    """Otherwise the next write of its run would go to the other writer, and a deletion of the run wait for both."""
    run_id = UUID(int=uuid4().int | 1)  # odd: a large write alone would be the second writer's
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'test', now())", run_id
    )
    async with running_replica(database, write_timeout_s=1.0) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [0.0]))
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM runs FOR UPDATE")
            for first_value in (1.0, 2.0):
                with pytest.raises(DatabaseUnavailable):
                    await writes.write(ANYONE, points(run_id, [first_value] * (SHARED_GROUP_POINTS - 100)))
            waiting = await holder.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND application_name = 'runstream-writer' AND datname = current_database()"
            )
            assert waiting == 1


async def test_a_replica_that_drains_takes_no_writes(database, replica, run_id):
    replica.pipeline.drain()
    with pytest.raises(Draining):
        await HttpIngest(database, replica.pipeline).write(ANYONE, points(run_id, [1.0]))


async def test_a_write_that_the_end_of_the_service_overtakes_gets_an_error(database, run_id):
    async with running_replica(database) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [1.0]))
        async with database.acquire() as holder, holder.transaction():
            await holder.execute("SELECT 1 FROM runs FOR UPDATE")
            held = asyncio.create_task(writes.write(ANYONE, points(run_id, [2.0])))
            await waiting_for_a_lock(database, held)
            await replica.pipeline.stop()
            with pytest.raises(Draining):
                await held


# Failures, and what is remembered -------------------------------------------------------------------------------------


@SIZES
async def test_a_write_that_fails_for_an_unknown_reason_fails_alone(database, run_id, count):
    await fail_for(database, "666")
    async with running_replica(database, writers=1) as replica:
        writes = HttpIngest(database, replica.pipeline)
        await writes.write(ANYONE, points(run_id, [0.0]))
        bad = points(run_id, [666.0] * count)
        outcomes = await asyncio.gather(
            *(writes.write(ANYONE, write) for write in (points(run_id, [1.0]), bad, points(run_id, [2.0]))),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), CommitFailed, type(None)]
        assert replica.metric("runstream_queue_points") == 0
    assert await _stored_values(database) == [0.0, 1.0, 2.0]


async def test_few_series_are_remembered_and_all_are_found(database, replica):
    writes = HttpIngest(database, replica.pipeline, max_cached_series=3)
    ids = [await new_run(database) for _ in range(5)]
    for value in range(3):
        for run_id in ids:
            await writes.write(ANYONE, points(run_id, [float(value)], key=f"k{value}"))
    assert await database.fetchval("SELECT count(*) FROM series") == 15
    assert len(await _stored_values(database)) == 15
