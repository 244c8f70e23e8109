"""Deleting series and runs, purge, and retention: what is gone is out of every answer, and stays gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2, run_pb2
from runstream_service.core.errors import Fenced
from runstream_service.retention import loop, purge, retention
from runstream_service.retention.loop import RetentionLoop
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge
from runstream_service.retention.retention import Retention
from runstream_service.storage.database import Database
from tests.integration.ingest.conftest import acknowledged, running_replica
from tests.support.rolling import roll_up
from tests.support.rpc import Services, reason_of, serve_on
from tests.support.tail import HandMade, new_series

Code = grpc.StatusCode
NOT_FOUND = (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with serve_on(database) as running:
        yield running


@pytest.fixture
async def run_id(services: Services) -> UUID:
    answer = await services.runs.CreateRun(run_pb2.CreateRunRequest(params={"a": "1"}, tags={"b": "2"}))
    return UUID(answer.run.run_id)


@pytest.fixture
async def hand(database_url: str) -> AsyncIterator[HandMade]:
    async with HandMade.connect(database_url) as made:
        yield made


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def purger(database: Database, registry: CollectorRegistry) -> Purge:
    return Purge(database, RetentionMetrics(registry), purge_after_days=0)


async def write(hand: HandMade, database: Database, run_id: UUID, key: str, steps: range, *, rank: int = 0) -> None:
    hand.epoch = await database.fetchval("SELECT epoch FROM epochs WHERE state = 'open'")
    await hand.write(await new_series(database, run_id, key, rank=rank), steps)


async def history(services: Services, run_id: UUID) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    async for piece in services.query.History(query_pb2.HistoryRequest(run_id=run_id.hex)):
        found.setdefault(piece.series.key, []).extend(piece.step)
    return found


async def latest(services: Services, run_id: UUID) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    async for answer in services.query.Latest(query_pb2.LatestRequest(run_ids=[run_id.hex])):
        for key, step in zip(answer.key_index, answer.step, strict=True):
            found.setdefault(answer.keys[key], []).append(step)
    return found


async def delete_series(services: Services, run_id: UUID, *keys: str) -> int:
    answer = await services.runs.DeleteSeries(run_pb2.DeleteSeriesRequest(run_id=run_id.hex, keys=keys))
    return int(answer.series_count)


async def delete_run(services: Services, run_id: UUID) -> None:
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run_id.hex))


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def left(database: Database) -> dict[str, int]:
    """Rows that are left, by table."""
    tables = ("metric_segments", "latest_values", "series", "params", "tags", "producers", "runs")
    return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


# -- series ----------------------------------------------------------------------------------------------------------


async def test_deleted_series_are_out_of_every_answer_at_once(
    services: Services, database: Database, run_id: UUID, hand: HandMade
) -> None:
    for rank in (0, 1):
        await write(hand, database, run_id, "loss", range(3), rank=rank)
    await write(hand, database, run_id, "acc", range(3))
    await roll_up(database)
    await write(hand, database, run_id, "loss", range(3, 5))
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
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge, registry: CollectorRegistry
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    await roll_up(database)
    await write(hand, database, run_id, "loss", range(3, 5))
    await delete_series(services, run_id, "loss")
    await write(hand, database, run_id, "loss", range(5, 7))  # anew
    assert await purger.round() == purge.Purged()
    assert await purger.waiting() == (1, 0)
    await roll_up(database)
    assert await purger.round() == purge.Purged(series=1, segments=1, points=3)
    assert (await left(database))["metric_segments"] == (await left(database))["series"] == 1
    assert await history(services, run_id) == {"loss": [5, 6]}
    assert await latest(services, run_id) == {"loss": [6]}
    assert registry.get_sample_value("runstream_deleted_points_total", {"reason": "purge"}) == 3
    assert registry.get_sample_value("runstream_purged_series_total") == 1
    assert await purger.round() == purge.Purged()


async def test_purge_needs_no_further_writes_when_all_is_rolled_up(
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    await roll_up(database)
    await delete_series(services, run_id, "loss")
    assert (await purger.round()).points == 3


async def test_purge_during_a_roll_up_does_nothing_and_does_all_afterwards(
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    async with database.transaction() as connection:
        # A roll-up that read the series as alive, and has not committed yet.
        await connection.execute(
            "INSERT INTO metric_segments (series_id, epoch, first_step, last_step, min_time, max_time, point_count, "
            "finite_count, first_value, last_value, time_ordered) "
            "SELECT series_id, 1, 0, 2, now(), now(), 3, 3, 0, 2, true FROM series"
        )
        await delete_series(services, run_id, "loss")
        assert await purger.round() == purge.Purged()
    assert await purger.round() == purge.Purged()
    await database.execute("UPDATE watermark SET visible_epoch = 1")
    assert await purger.round() == purge.Purged(series=1, segments=1, points=3)
    assert (await left(database))["metric_segments"] == 0


async def test_purge_goes_in_chunks_and_two_replicas_share_it(
    services: Services, database: Database, run_id: UUID, hand: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_SEGMENTS_AT_ONCE", 3)
    monkeypatch.setattr(purge, "_SERIES_AT_ONCE", 2)
    keys = [f"key{number}" for number in range(8)]
    for _ in range(4):
        for key in keys:
            await write(hand, database, run_id, key, range(2))
        await roll_up(database)
    await delete_series(services, run_id, *keys)
    both = [Purge(database, RetentionMetrics(CollectorRegistry()), purge_after_days=0) for _ in range(2)]
    done = await asyncio.gather(*(one.round() for one in both))
    assert sum(one.series for one in done) == 8
    assert sum(one.segments for one in done) == 32
    assert (await left(database))["metric_segments"] == 0


async def test_a_stream_is_fenced_by_the_deletion_and_begins_the_key_anew(
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
    assert (await purger.round()).series == 1
    assert await history(services, run_id) == {"loss": [2000]}


async def test_a_group_commit_that_is_under_way_is_in_an_epoch_that_the_mark_covers(
    services: Services, database: Database, run_id: UUID, purger: Purge
) -> None:
    async with running_replica(database) as replica, database.transaction() as connection:
        stream = await replica.open(run_id, key="loss")
        # A group in hand: it has its epoch and the ledger row, and takes its time.
        await connection.execute(
            "SELECT * FROM begin_group($1, $2, '{1}', '{1}', '{1}', '{1}', '{1}')",
            [stream.producer_id],
            [stream.session],
        )
        await connection.execute(
            "INSERT INTO metric_points_hot SELECT 1, max(commit_no), $1, 7, now(), 7 FROM commits",
            await new_series(database, run_id, "loss"),
        )
        deletion = asyncio.create_task(delete_series(services, run_id, "loss"))
        await asyncio.sleep(0.3)
        assert not deletion.done()
    assert await deletion == 1
    assert await database.fetchval("SELECT purge_epoch FROM series") == 1
    assert await history(services, run_id) == {}
    assert await purger.round() == purge.Purged()
    await roll_up(database)
    assert (await purger.round()).series == 1
    assert (await left(database))["metric_segments"] == 0


async def test_declaring_a_key_waits_for_its_deletion(
    services: Services, database: Database, run_id: UUID, hand: HandMade
) -> None:
    old = await new_series(database, run_id, "loss")
    async with database.transaction() as connection:
        await connection.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
        await connection.execute("UPDATE series SET purge_epoch = 1")
        declaring = asyncio.create_task(new_series(database, run_id, "loss"))
        await asyncio.sleep(0.2)
        assert not declaring.done()
    assert await declaring > old


async def test_a_deletion_waits_for_keys_that_are_being_declared(
    services: Services, database: Database, run_id: UUID
) -> None:
    async with database.transaction() as connection:
        await connection.fetch("SELECT * FROM resolve_series($1, 0, 0, '{loss}')", run_id)
        deletion = asyncio.create_task(delete_series(services, run_id, "loss"))
        await asyncio.sleep(0.2)
        assert not deletion.done()
    assert await deletion == 1


# -- runs ------------------------------------------------------------------------------------------------------------


async def test_a_deleted_run_can_be_restored_until_it_is_purged(
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    await delete_run(services, run_id)
    assert await history(services, run_id) == {"loss": [0, 1, 2]}
    await services.runs.RestoreRun(run_pb2.RestoreRunRequest(run_id=run_id.hex))
    await purger.round()
    assert await history(services, run_id) == {"loss": [0, 1, 2]}


async def test_a_purged_run_is_gone_for_every_answer_before_its_space_is_freed(
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    await delete_run(services, run_id)
    assert await purger.round() == purge.Purged()
    assert await purger.waiting() == (1, 1)
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
    assert (await purger.round()).runs == 1
    assert set((await left(database)).values()) == {0}
    assert (await services.runs.CreateRun(again)).created


async def test_the_grace_period_is_respected(
    services: Services, database: Database, run_id: UUID, registry: CollectorRegistry
) -> None:
    purger = Purge(database, RetentionMetrics(registry), purge_after_days=30)
    await delete_run(services, run_id)
    await database.execute("UPDATE runs SET deleted_at = now() - interval '29 days 23 hours'")
    await purger.round()
    assert (await services.runs.GetRun(run_pb2.GetRunRequest(run_id=run_id.hex))).run.params == {"a": "1"}
    await database.execute("UPDATE runs SET deleted_at = now() - interval '30 days 1 hour'")
    assert (await purger.round()).runs == 1


# -- retention -------------------------------------------------------------------------------------------------------


async def test_retention_deletes_old_segments_of_its_experiment_and_keeps_latest_values(
    services: Services, database: Database, run_id: UUID, hand: HandMade, registry: CollectorRegistry
) -> None:
    other = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="keeps"))
    for run in (run_id, UUID(other.run.run_id)):
        await write(hand, database, run, "loss", range(3))  # of January
    await roll_up(database)
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0, retention_days=7))
    new = await new_series(database, run_id, "new")
    await database.execute(
        "INSERT INTO metric_segments (series_id, epoch, first_step, last_step, min_time, max_time, point_count, "
        "finite_count, first_value, last_value, time_ordered, step_stride, time_offsets, values_real) "
        "VALUES ($1, 1, 0, 1, now() - interval '8 days', now() - interval '6 days', 2, 2, 0, 1, true, 1, '{0,0}', "
        "'{0,1}')",
        new,
    )
    retainer = Retention(database, RetentionMetrics(registry))
    assert await retainer.round() == retention.Expired(segments=1, points=3)
    assert await history(services, run_id) == {"new": [0, 1]}
    assert (await latest(services, run_id))["loss"] == [2]
    assert await history(services, UUID(other.run.run_id)) == {"loss": [0, 1, 2]}
    assert registry.get_sample_value("runstream_deleted_points_total", {"reason": "retention"}) == 3
    assert await retainer.round() == retention.Expired()


async def test_retention_is_set_shown_and_taken_back(services: Services) -> None:
    async def shown() -> run_pb2.Experiment:
        request = run_pb2.GetExperimentRequest(experiment_id=0)
        answer: run_pb2.GetExperimentResponse = await services.runs.GetExperiment(request)
        return answer.experiment

    assert not (await shown()).HasField("retention_days")
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0, retention_days=36_500))
    assert (await shown()).retention_days == 36_500
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0))
    assert not (await shown()).HasField("retention_days")
    for days in (0, -1, 36_501):
        request = run_pb2.SetRetentionRequest(experiment_id=0, retention_days=days)
        assert await refused(services.runs.SetRetention(request)) == (
            Code.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "retention_days",
        )
    missing = run_pb2.SetRetentionRequest(experiment_id=99)
    assert (await refused(services.runs.SetRetention(missing)))[1] == "EXPERIMENT_NOT_FOUND"


# -- the loop --------------------------------------------------------------------------------------------------------


async def test_the_loop_goes_on_after_a_failure(
    services: Services,
    database: Database,
    run_id: UUID,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "PURGE_EVERY_S", 0.05)
    monkeypatch.setattr(loop, "RETENTION_EVERY_S", 0.05)
    await delete_run(services, run_id)
    await database.execute("ALTER TABLE runs RENAME TO hidden")
    task = asyncio.create_task(RetentionLoop(database, RetentionMetrics(registry), purge_after_days=0).run())
    while not registry.get_sample_value("runstream_retention_failures_total"):
        await asyncio.sleep(0.01)
    await database.execute("ALTER TABLE hidden RENAME TO runs")
    while (await left(database))["runs"]:
        await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
