"""Retention deletes old points of its experiment; the loop that does all of it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import run_pb2
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.database.pool import Database
from runstream_service.retention import retention
from runstream_service.retention.loop import RetentionLoop
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.retention import Retention
from tests.integration.retention.conftest import (
    FAILURES,
    Code,
    Running,
    delete_run,
    history,
    latest,
    left,
    refuse_deletion,
    refused,
    until_gone,
    write,
)
from tests.support.polling import until
from tests.support.rolling import roll_up
from tests.support.rpc import Services
from tests.support.tail import ManualCommit, new_series

# -- retention -------------------------------------------------------------------------------------------------------


async def test_retention_deletes_old_segments_of_its_experiment_and_keeps_latest_and_best_values(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, registry: CollectorRegistry
) -> None:
    other = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="keeps"))
    for run in (run_id, UUID(other.run.run_id)):
        await write(manual, database, run, "loss", range(3))  # of January
    await roll_up(database)
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0, retention_days=7))
    await database.execute("UPDATE runs SET started_at = now() - interval '8 days'")
    new = await new_series(database, run_id, "new")
    await database.execute(
        "INSERT INTO metric_segments (series_id, epoch, first_step, last_step, min_time, max_time, point_count, "
        "finite_count, first_value, last_value, time_ordered, step_stride, time_offsets, values_real) "
        "VALUES ($1, 1, 0, 1, now() - interval '8 days', now() - interval '6 days', 2, 2, 0, 1, true, 1, '{0,0}', "
        "'{0,1}')",
        new,
    )
    retainer = Retention(database, RetentionMetrics(registry))
    assert await retainer.run_once() == retention.RetentionResult(segments=1, points=3)
    assert await history(services, run_id) == {"new": [0, 1]}
    assert (await latest(services, run_id))["loss"] == [2]
    best = await database.fetch(
        "SELECT min_value, min_step, max_value, max_step FROM latest_values JOIN series USING (series_id) "
        "WHERE run_id = $1 AND key = 'loss'",
        run_id,
    )
    assert [tuple(row) for row in best] == [(0.0, 0, 2.0, 2)]
    assert await history(services, UUID(other.run.run_id)) == {"loss": [0, 1, 2]}
    assert registry.get_sample_value("runstream_deleted_points_total", {"reason": "retention"}) == 3
    assert await retainer.run_once() == retention.RetentionResult()


async def test_points_that_say_they_are_older_than_their_run_are_as_old_as_it(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, registry: CollectorRegistry
) -> None:
    """Times such as seconds in place of microseconds, or those of an imported history."""
    await write(manual, database, run_id, "loss", range(3))  # of January
    await roll_up(database)
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0, retention_days=7))
    await database.execute("UPDATE runs SET started_at = now() - interval '6 days'")
    retainer = Retention(database, RetentionMetrics(registry))
    assert await retainer.run_once() == retention.RetentionResult()
    await database.execute("UPDATE runs SET started_at = now() - interval '8 days'")
    assert await retainer.run_once() == retention.RetentionResult(segments=1, points=3)


async def test_one_replica_an_hour_applies_retention(
    services: Services, database: Database, run_id: UUID, manual: ManualCommit, registry: CollectorRegistry
) -> None:
    replicas = [Retention(database, RetentionMetrics(CollectorRegistry())) for _ in range(5)]
    done = await asyncio.gather(*(one.run_if_due() for one in replicas))
    assert sorted(done, key=lambda one: one is None) == [retention.RetentionResult(), None, None, None, None]
    assert [await one.run_if_due() for one in replicas] == [None] * 5
    await database.execute("UPDATE shared_tasks SET due_at = now() - interval '1 second'")
    assert await replicas[0].run_if_due() == retention.RetentionResult()


async def test_retention_that_failed_is_left_to_any_replica(
    services: Services, database: Database, registry: CollectorRegistry
) -> None:
    retainer = Retention(database, RetentionMetrics(registry))
    await database.execute("ALTER TABLE runs RENAME TO hidden")
    await services.database.execute("UPDATE experiments SET retention_days = 1")
    with pytest.raises(asyncpg.UndefinedTableError):
        await retainer.run_if_due()
    await database.execute("ALTER TABLE hidden RENAME TO runs")
    assert await retainer.run_if_due() == retention.RetentionResult()


async def test_an_experiment_whose_retention_fails_does_not_stop_the_next_one(
    services: Services, database: Database, manual: ManualCommit, registry: CollectorRegistry
) -> None:
    runs = []
    for name in ("fails", "works"):
        created = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment=name))
        runs.append(created.run)
        await write(manual, database, UUID(created.run.run_id), "loss", range(3))
    await roll_up(database)
    await database.execute("UPDATE runs SET started_at = '2026-01-01'")
    await database.execute("UPDATE experiments SET retention_days = 1 WHERE experiment_id <> 0")
    series = await database.fetchval("SELECT series_id FROM series WHERE run_id = $1", UUID(runs[0].run_id))
    await refuse_deletion(database, "metric_segments", f"series_id = {series}")
    with pytest.raises(asyncpg.RaiseError):
        await Retention(database, RetentionMetrics(registry)).run_once()
    assert await history(services, UUID(runs[0].run_id)) == {"loss": [0, 1, 2]}
    assert await history(services, UUID(runs[1].run_id)) == {}


async def test_many_runs_are_looked_at_page_by_page(
    services: Services,
    database: Database,
    manual: ManualCommit,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "_RUNS_AT_ONCE", 2)
    monkeypatch.setattr(retention, "_SERIES_AT_ONCE", 1)
    for _ in range(5):
        created = await services.runs.CreateRun(run_pb2.CreateRunRequest())
        for key in ("a", "b"):
            await write(manual, database, UUID(created.run.run_id), key, range(3))
    await roll_up(database)
    await database.execute("UPDATE runs SET started_at = '2026-01-01'")  # all at the same time
    await database.execute("UPDATE experiments SET retention_days = 1")
    assert (await Retention(database, RetentionMetrics(registry)).run_once()).points == 30


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


def running_loop(database: Database, registry: CollectorRegistry, store: ArtifactStore) -> Running:
    loop = RetentionLoop(database, RetentionMetrics(registry), store, purge_after_days=0, every_s=0.05)
    return Running(asyncio.create_task(loop.run()))


async def test_the_loop_goes_on_after_a_failure(
    services: Services, database: Database, run_id: UUID, registry: CollectorRegistry, store: ArtifactStore
) -> None:
    await delete_run(services, run_id)
    await database.execute("ALTER TABLE runs RENAME TO hidden")
    async with running_loop(database, registry, store):
        await until(lambda: registry.get_sample_value(FAILURES, {"step": "purge"}))
        await database.execute("ALTER TABLE hidden RENAME TO runs")
        await until_gone(database, "runs")


async def test_a_purge_that_always_fails_keeps_nothing_else_from_being_done(
    services: Services,
    database: Database,
    run_id: UUID,
    manual: ManualCommit,
    registry: CollectorRegistry,
    store: ArtifactStore,
) -> None:
    await write(manual, database, run_id, "loss", range(3))
    await roll_up(database)
    await database.execute("UPDATE runs SET started_at = '2026-01-01'")
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0, retention_days=7))
    await database.execute("INSERT INTO http_writes VALUES (gen_random_uuid(), now() - interval '2 hours')")
    stays = (await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="stays"))).run.run_id
    goes = (await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="goes"))).run.run_id
    await refuse_deletion(database, "runs", f"run_id = '{stays}'")
    for one in (stays, goes):
        await delete_run(services, UUID(one))
    async with running_loop(database, registry, store):
        await until_gone(database, "metric_segments")
        await until_gone(database, "http_writes")
        await until_gone(database, "runs", f"run_id = '{goes}'")
        await until(lambda: registry.get_sample_value(FAILURES, {"step": "purge"}))
    assert (await left(database))["runs"] == 2
