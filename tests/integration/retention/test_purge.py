"""Deletion and purge of series and runs: what was deleted is in no answer, and does not come back."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import run_pb2
from runstream_service.database.pool import Database
from runstream_service.errors.core import Fenced
from runstream_service.retention import purge
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge
from tests.integration.ingest.conftest import acknowledged, running_replica
from tests.integration.retention.conftest import (
    NOT_FOUND,
    Code,
    delete_run,
    delete_series,
    history,
    latest,
    left,
    refuse_deletion,
    refused,
    write,
)
from tests.support.hot import copy_batches
from tests.support.locks import waiting_for_a_lock
from tests.support.points import columns
from tests.support.rolling import roll_up
from tests.support.rpc import Services, reason_of
from tests.support.tail import ManualCommit, new_series

# -- series ----------------------------------------------------------------------------------------------------------


async def test_deleted_series_are_out_of_every_answer_at_once(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit
) -> None:
    for rank in (0, 1):
        await write(manual, database, run_id, "loss", range(3), rank=rank)
    await write(manual, database, run_id, "acc", range(3))
    await roll_up(database)
    await write(manual, database, run_id, "loss", range(3, 5))
    assert await delete_series(services, run_id, "loss", "nothing") == 2
    assert await history(services, run_id) == {"acc": [0, 1, 2]}
    assert await latest(services, run_id) == {"acc": [2]}
    assert await database.fetchval("SELECT count(DISTINCT key) FROM metric_points") == 1
    assert await delete_series(services, run_id, "loss") == 0


async def test_what_cannot_be_deleted(services: Services, run_id: UUID) -> None:
    for keys in ([], ["k"] * 1_001, ["\0"]):
        request = run_pb2.DeleteSeriesRequest(run_id=run_id.hex, keys=keys)
        assert await refused(services.runs.DeleteSeries(request)) == (Code.INVALID_ARGUMENT, "INVALID_FIELD", "keys")
    request = run_pb2.DeleteSeriesRequest(run_id="0" * 32, keys=["k"])
    assert await refused(services.runs.DeleteSeries(request)) == NOT_FOUND


async def test_purge_waits_until_roll_up_has_passed_and_nothing_comes_back(
    services: Services,
    database: Database,
    run_id: UUID,
    manual: ManualCommit,
    purger: Purge,
    registry: CollectorRegistry,
) -> None:
    await write(manual, database, run_id, "loss", range(3))
    await roll_up(database)
    await write(manual, database, run_id, "loss", range(3, 5))
    await delete_series(services, run_id, "loss")
    await write(manual, database, run_id, "loss", range(5, 7))  # a new series of the same key
    assert await purger.run_once() == purge.PurgeResult()
    assert await purger.waiting() == purge.Waiting(series=1)
    await roll_up(database)
    assert await purger.run_once() == purge.PurgeResult(series=1, segments=1, points=3)
    assert (await left(database))["metric_segments"] == (await left(database))["series"] == 1
    assert await history(services, run_id) == {"loss": [5, 6]}
    assert await latest(services, run_id) == {"loss": [6]}
    assert registry.get_sample_value("runstream_deleted_points_total", {"reason": "purge"}) == 3
    assert registry.get_sample_value("runstream_purged_series_total") == 1
    assert await purger.run_once() == purge.PurgeResult()


async def test_purge_needs_no_further_writes_when_all_is_rolled_up(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, purger: Purge
) -> None:
    await write(manual, database, run_id, "loss", range(3))
    await roll_up(database)
    await delete_series(services, run_id, "loss")
    assert (await purger.run_once()).points == 3


async def test_purge_during_a_roll_up_does_nothing_and_does_all_afterwards(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, purger: Purge
) -> None:
    await write(manual, database, run_id, "loss", range(3))
    async with database.transaction() as connection:
        # A roll-up that read the series as alive, and has not committed yet.
        await connection.execute(
            "INSERT INTO metric_segments (series_id, epoch, first_step, last_step, min_time, max_time, point_count, "
            "finite_count, first_value, last_value, time_ordered) "
            "SELECT series_id, 1, 0, 2, now(), now(), 3, 3, 0, 2, true FROM series"
        )
        await delete_series(services, run_id, "loss")
        assert await purger.run_once() == purge.PurgeResult()
    assert await purger.run_once() == purge.PurgeResult()
    await database.execute("UPDATE watermark SET visible_epoch = 1")
    assert await purger.run_once() == purge.PurgeResult(series=1, segments=1, points=3)
    assert (await left(database))["metric_segments"] == 0


async def test_purge_goes_in_chunks_and_two_replicas_share_it(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_SEGMENTS_AT_ONCE", 3)
    monkeypatch.setattr(purge, "_SERIES_AT_ONCE", 2)
    keys = [f"key{number}" for number in range(8)]
    for _ in range(4):
        for key in keys:
            await write(manual, database, run_id, key, range(2))
        await roll_up(database)
    await delete_series(services, run_id, *keys)
    both = [Purge(database, RetentionMetrics(CollectorRegistry()), purge_after_days=0) for _ in range(2)]
    done = await asyncio.gather(*(one.run_once() for one in both))
    assert sum(one.series for one in done) == 8
    assert sum(one.segments for one in done) == 32
    assert (await left(database))["metric_segments"] == 0


async def test_a_stream_is_fenced_by_the_deletion_and_starts_the_key_again(
    services: Services, database: Database, run_id: UUID, purger: Purge
) -> None:
    async with running_replica(database) as replica:
        stream = await replica.open(run_id, key="loss")
        await replica.send(stream, 1, [1.0, 2.0])
        await acknowledged(stream, 1)
        await delete_series(services, run_id, "loss")
        await replica.send(stream, 2, [3.0])
        with pytest.raises(Fenced):
            await acknowledged(stream, 2)
        again = await replica.open(run_id, stream.producer_id, key="loss")
        await replica.send(again, 2, [3.0])
        await acknowledged(again, 2)
    assert await history(services, run_id) == {"loss": [2000]}
    await roll_up(database)
    assert (await purger.run_once()).series == 1
    assert await history(services, run_id) == {"loss": [2000]}


async def test_a_group_commit_that_is_under_way_is_in_an_epoch_that_the_mark_covers(
    services: Services, database: Database, run_id: UUID, purger: Purge
) -> None:
    async with running_replica(database) as replica, database.transaction() as connection:
        stream = await replica.open(run_id, key="loss")
        # A group in hand: it has its epoch and the ledger row, and takes its time.
        await connection.execute(
            "SELECT * FROM begin_group_commit($1, $2, '{1}', '{1}', '{1}', '{1}', '{1}', '{}', '{}', '{}', '{}')",
            [stream.producer_id],
            [stream.session],
        )
        point = (await new_series(database, run_id, "loss"), 7, 0, 7.0)
        commit_no = await connection.fetchval("SELECT max(commit_no) FROM commits")
        await copy_batches(connection, columns([point]), 1, commit_no)
        deletion = asyncio.create_task(delete_series(services, run_id, "loss"))
        await waiting_for_a_lock(database, deletion)
    assert await deletion == 1
    assert await database.fetchval("SELECT purge_epoch FROM series") == 1
    assert await history(services, run_id) == {}
    assert await purger.run_once() == purge.PurgeResult()
    await roll_up(database)
    assert (await purger.run_once()).series == 1
    assert (await left(database))["metric_segments"] == 0


async def test_declaring_a_key_waits_for_its_deletion(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit
) -> None:
    old = await new_series(database, run_id, "loss")
    async with database.transaction() as connection:
        await connection.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
        await connection.execute("UPDATE series SET purge_epoch = 1")
        declaring = asyncio.create_task(new_series(database, run_id, "loss"))
        await waiting_for_a_lock(database, declaring)
    assert await declaring > old


async def test_a_deletion_waits_for_keys_that_are_being_declared(
    services: Services, database: Database, run_id: UUID
) -> None:
    async with database.transaction() as connection:
        await connection.fetch("SELECT * FROM resolve_series($1, 0, 0, '{loss}', 1000000)", run_id)
        deletion = asyncio.create_task(delete_series(services, run_id, "loss"))
        await waiting_for_a_lock(database, deletion)
    assert await deletion == 1


# -- runs ------------------------------------------------------------------------------------------------------------


async def test_a_deleted_run_can_be_restored_until_it_is_purged(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, purger: Purge
) -> None:
    await write(manual, database, run_id, "loss", range(3))
    await delete_run(services, run_id)
    assert await history(services, run_id) == {"loss": [0, 1, 2]}
    await services.runs.RestoreRun(run_pb2.RestoreRunRequest(run_id=run_id.hex))
    await purger.run_once()
    assert await history(services, run_id) == {"loss": [0, 1, 2]}


async def test_a_purged_run_is_gone_for_every_answer_before_its_space_is_freed(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, purger: Purge
) -> None:
    await write(manual, database, run_id, "loss", range(3))
    await delete_run(services, run_id)
    assert await purger.run_once() == purge.PurgeResult()
    assert await purger.waiting() == purge.Waiting(series=1, runs=1)
    run: dict[str, Any] = {"run_id": run_id.hex}
    assert await refused(services.runs.GetRun(run_pb2.GetRunRequest(**run))) == NOT_FOUND
    assert await refused(services.runs.RestoreRun(run_pb2.RestoreRunRequest(**run))) == NOT_FOUND
    assert await refused(services.runs.DeleteRun(run_pb2.DeleteRunRequest(**run))) == NOT_FOUND
    assert await refused(services.runs.SetTags(run_pb2.SetTagsRequest(**run, tags={"a": "b"}))) == NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await history(services, run_id)
    assert reason_of(caught.value) == NOT_FOUND
    assert await latest(services, run_id) == {}
    assert await database.fetchval("SELECT count(*) FROM metric_points") == 0
    again = run_pb2.CreateRunRequest(**run)
    assert (await refused(services.runs.CreateRun(again)))[:2] == (Code.FAILED_PRECONDITION, "RUN_DELETED")
    await roll_up(database)
    assert (await purger.run_once()).runs == 1
    assert set((await left(database)).values()) == {0}
    assert (await services.runs.CreateRun(again)).created


async def test_the_grace_period_is_respected(
    services: Services, database: Database, run_id: UUID, registry: CollectorRegistry
) -> None:
    purger = Purge(database, RetentionMetrics(registry), purge_after_days=30)
    await delete_run(services, run_id)
    await database.execute("UPDATE runs SET deleted_at = now() - interval '29 days 23 hours'")
    await purger.run_once()
    assert (await services.runs.GetRun(run_pb2.GetRunRequest(run_id=run_id.hex))).run.params == {"a": "1"}
    await database.execute("UPDATE runs SET deleted_at = now() - interval '30 days 1 hour'")
    assert (await purger.run_once()).runs == 1


async def test_a_run_that_cannot_be_purged_does_not_stop_the_others(
    services: Services, database: Database, purger: Purge
) -> None:
    runs = [(await services.runs.CreateRun(run_pb2.CreateRunRequest())).run.run_id for _ in range(4)]
    for run in runs:
        await delete_run(services, UUID(run))
    await refuse_deletion(database, "runs", f"run_id IN ('{runs[0]}', '{runs[2]}')")
    with pytest.raises(asyncpg.RaiseError):
        await purger.run_once()
    assert {row[0].hex for row in await database.fetch("SELECT run_id FROM runs")} == {runs[0], runs[2]}
    await database.execute("DROP TRIGGER refuse ON runs")
    assert (await purger.run_once()).runs == 2


async def test_the_series_of_a_purged_run_are_marked_in_chunks(
    services: Services, database: Database, run_id: UUID, purger: Purge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_SERIES_MARKED_AT_ONCE", 2)
    for number in range(5):
        await new_series(database, run_id, f"key{number}")
    await delete_run(services, run_id)
    done = await purger.run_once()
    assert (done.series, done.runs) == (5, 1)
