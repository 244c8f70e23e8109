"""Deleting series and runs, purge, and retention: what is gone is out of every answer, and stays gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from prometheus_client import CollectorRegistry

from runstream.v1 import query_pb2, run_pb2
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.core.errors import Fenced
from runstream_service.core.experiments import Experiments
from runstream_service.core.logged_models import LoggedModels, NewModel
from runstream_service.core.model_versions import ModelVersions, NewVersion
from runstream_service.core.registered_models import RegisteredModels
from runstream_service.retention import purge, retention
from runstream_service.retention.loop import RetentionLoop
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge
from runstream_service.retention.retention import Retention
from runstream_service.storage.database import Database
from tests.integration.ingest.conftest import acknowledged, running_replica
from tests.support.callers import ANYONE
from tests.support.hot import copy_batches
from tests.support.locks import waiting_for_a_lock
from tests.support.points import columns
from tests.support.rolling import roll_up
from tests.support.rpc import Services, reason_of, serve_on
from tests.support.tail import HandMade, new_series
from tests.support.tasks import end

Code = grpc.StatusCode
FAILURES = "runstream_retention_failures_total"
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
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.open(str(tmp_path / "artifacts"))


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


async def refuse_deletion(database: Database, table: str, which: str) -> None:
    """Rows of a table that nobody can delete, whatever they are."""
    await database.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF (SELECT old_row.{which} FROM (SELECT OLD.*) old_row) THEN RAISE 'not this one'; END IF; "
        f"RETURN OLD; END $$; "
        f"CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


async def eventually(condition: Callable[[], Any], *, timeout_s: float = 60) -> None:
    give_up = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < give_up
        await asyncio.sleep(0.01)


async def until_gone(database: Database, table: str, which: str = "true", *, timeout_s: float = 60) -> None:
    give_up = asyncio.get_running_loop().time() + timeout_s
    while await database.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE {which})"):
        assert asyncio.get_running_loop().time() < give_up, f"rows of {table} are still there"
        await asyncio.sleep(0.01)


@dataclass
class Running:
    """A task that goes on until the end of the block; what it raises comes out there."""

    task: asyncio.Task[None]

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        (raised,) = await end(self.task)
        if not isinstance(raised, asyncio.CancelledError | None):
            raise raised


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
    await write(hand, database, run_id, "loss", range(5, 7))  # a new series of the same key
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
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    await roll_up(database)
    await delete_series(services, run_id, "loss")
    assert (await purger.run_once()).points == 3


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
        assert await purger.run_once() == purge.PurgeResult()
    assert await purger.run_once() == purge.PurgeResult()
    await database.execute("UPDATE watermark SET visible_epoch = 1")
    assert await purger.run_once() == purge.PurgeResult(series=1, segments=1, points=3)
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
    done = await asyncio.gather(*(one.run_once() for one in both))
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
    services: Services, database: Database, run_id: UUID, hand: HandMade
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
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
    await delete_run(services, run_id)
    assert await history(services, run_id) == {"loss": [0, 1, 2]}
    await services.runs.RestoreRun(run_pb2.RestoreRunRequest(run_id=run_id.hex))
    await purger.run_once()
    assert await history(services, run_id) == {"loss": [0, 1, 2]}


async def test_a_purged_run_is_gone_for_every_answer_before_its_space_is_freed(
    services: Services, database: Database, run_id: UUID, hand: HandMade, purger: Purge
) -> None:
    await write(hand, database, run_id, "loss", range(3))
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


# -- experiments -----------------------------------------------------------------------------------------------------


async def delete_experiment(database: Database, name: str) -> int:
    experiments = Experiments(database)
    experiment = await experiments.get(ANYONE, name=name)
    await experiments.delete(ANYONE, experiment.experiment_id)
    return experiment.experiment_id


async def test_a_purged_experiment_frees_its_name_at_once_and_goes_with_its_last_run(
    services: Services, database: Database, hand: HandMade, purger: Purge
) -> None:
    created = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))
    await write(hand, database, UUID(created.run.run_id), "loss", range(3))
    old = await delete_experiment(database, "mine")
    assert await purger.run_once() == purge.PurgeResult()  # its run waits for roll-up
    assert await purger.waiting() == purge.Waiting(series=1, runs=1, experiments=1)
    assert (await refused(services.runs.GetExperiment(run_pb2.GetExperimentRequest(experiment_id=old))))[1] == (
        "EXPERIMENT_NOT_FOUND"
    )
    again = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))
    assert again.run.experiment_id != old
    await roll_up(database)
    done = await purger.run_once()
    assert (done.runs, done.experiments) == (1, 1)
    left_over = await database.fetch("SELECT experiment_id FROM experiments ORDER BY 1")
    assert [row["experiment_id"] for row in left_over] == [0, again.run.experiment_id]


async def test_a_deleted_experiment_has_the_grace_period_of_its_runs(
    services: Services, database: Database, registry: CollectorRegistry
) -> None:
    purger = Purge(database, RetentionMetrics(registry), purge_after_days=30)
    await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))
    old = await delete_experiment(database, "mine")
    await database.execute("UPDATE experiments SET updated_at = now() - interval '29 days'")
    assert await purger.run_once() == purge.PurgeResult()
    await Experiments(database).restore(ANYONE, old)
    await delete_experiment(database, "mine")
    await database.execute("UPDATE experiments SET updated_at = now() - interval '31 days'")
    await purger.run_once()
    assert (
        await services.runs.GetExperiment(run_pb2.GetExperimentRequest(name="mine"))
    ).experiment.experiment_id == old
    await database.execute("UPDATE runs SET deleted_at = now() - interval '31 days'")
    done = await purger.run_once()
    assert (done.runs, done.experiments) == (1, 1)


async def test_an_experiment_with_a_run_that_is_alive_stays(
    services: Services, database: Database, purger: Purge
) -> None:
    run = (await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))).run.run_id
    experiment_id = await delete_experiment(database, "mine")
    await database.execute("UPDATE runs SET lifecycle = 'active', deleted_at = NULL WHERE run_id = $1", UUID(run))
    assert await purger.run_once() == purge.PurgeResult()
    shown = await services.runs.GetExperiment(run_pb2.GetExperimentRequest(experiment_id=experiment_id))
    assert shown.experiment.name == "mine"


async def test_the_default_experiment_stays(database: Database, purger: Purge) -> None:
    await delete_experiment(database, "Default")
    assert await purger.run_once() == purge.PurgeResult()
    assert (await Experiments(database).get(ANYONE, experiment_id=0)).lifecycle == "deleted"


async def test_a_run_that_is_being_created_keeps_its_experiment(
    services: Services, database: Database, purger: Purge
) -> None:
    await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))
    experiment_id = await delete_experiment(database, "mine")
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES (gen_random_uuid(), $1, 'new', now())",
            experiment_id,
        )
        await purger.run_once()
    done = await purger.run_once()
    assert done.experiments == 0
    assert (await Experiments(database).get(ANYONE, experiment_id=experiment_id)).name == "mine"


async def test_models_datasets_and_tags_go_with_their_experiment_and_registered_versions_stay(
    services: Services, database: Database, purger: Purge
) -> None:
    created = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))
    experiment_id = created.run.experiment_id
    await Experiments(database).set_tag(ANYONE, experiment_id, "a", "b")
    await database.execute(
        "INSERT INTO datasets (experiment_id, name, digest, source_type, source) VALUES ($1, 'd', '1', 'x', 'y')",
        experiment_id,
    )
    models = LoggedModels(database)
    model = await models.create(ANYONE, NewModel(experiment_id=experiment_id, params=[("a", "1")], tags={"b": "2"}))
    kept = await models.create(ANYONE, NewModel(experiment_id=0))
    deleted = await models.create(ANYONE, NewModel(experiment_id=0))
    await models.delete(ANYONE, deleted.model_id)
    await RegisteredModels(database).create(ANYONE, "registered")
    await ModelVersions(database).create(
        ANYONE, NewVersion(name="registered", source=model.artifact_uri, model_id=model.model_id)
    )
    await delete_experiment(database, "mine")
    done = await purger.run_once()
    assert (done.models, done.experiments) == (2, 1)
    assert [row[0] for row in await database.fetch("SELECT model_id FROM logged_models")] == [kept.model_id]
    for table in ("datasets", "experiment_tags", "logged_model_params", "logged_model_tags"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    assert await database.fetchval("SELECT count(*) FROM model_versions") == 1


async def test_an_experiment_is_created_under_a_name_that_a_purge_frees_in_that_moment(database: Database) -> None:
    await Experiments(database).create(ANYONE, "mine")
    experiment_id = await delete_experiment(database, "mine")
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE experiments SET workspace_id = 0, name = $1 WHERE experiment_id = $2",
            str(experiment_id),
            experiment_id,
        )
        creating = asyncio.create_task(Experiments(database).create_new(ANYONE, "mine"))
        await waiting_for_a_lock(database, creating)
    assert (await creating).experiment_id > experiment_id


# -- retention -------------------------------------------------------------------------------------------------------


async def test_retention_deletes_old_segments_of_its_experiment_and_keeps_latest_and_best_values(
    services: Services, database: Database, run_id: UUID, hand: HandMade, registry: CollectorRegistry
) -> None:
    other = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="keeps"))
    for run in (run_id, UUID(other.run.run_id)):
        await write(hand, database, run, "loss", range(3))  # of January
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
    services: Services, database: Database, run_id: UUID, hand: HandMade, registry: CollectorRegistry
) -> None:
    """Such as those with seconds for microseconds, or of a history that was imported."""
    await write(hand, database, run_id, "loss", range(3))  # of January
    await roll_up(database)
    await services.runs.SetRetention(run_pb2.SetRetentionRequest(experiment_id=0, retention_days=7))
    await database.execute("UPDATE runs SET started_at = now() - interval '6 days'")
    retainer = Retention(database, RetentionMetrics(registry))
    assert await retainer.run_once() == retention.RetentionResult()
    await database.execute("UPDATE runs SET started_at = now() - interval '8 days'")
    assert await retainer.run_once() == retention.RetentionResult(segments=1, points=3)


async def test_one_replica_an_hour_applies_retention(
    services: Services, database: Database, run_id: UUID, hand: HandMade, registry: CollectorRegistry
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
    services: Services, database: Database, hand: HandMade, registry: CollectorRegistry
) -> None:
    runs = []
    for name in ("fails", "works"):
        created = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment=name))
        runs.append(created.run)
        await write(hand, database, UUID(created.run.run_id), "loss", range(3))
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
    services: Services, database: Database, hand: HandMade, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_RUNS_AT_ONCE", 2)
    monkeypatch.setattr(retention, "_SERIES_AT_ONCE", 1)
    for _ in range(5):
        created = await services.runs.CreateRun(run_pb2.CreateRunRequest())
        for key in ("a", "b"):
            await write(hand, database, UUID(created.run.run_id), key, range(3))
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
        await eventually(lambda: registry.get_sample_value(FAILURES, {"step": "purge"}))
        await database.execute("ALTER TABLE hidden RENAME TO runs")
        await until_gone(database, "runs")


async def test_a_purge_that_always_fails_keeps_nothing_else_from_being_done(
    services: Services,
    database: Database,
    run_id: UUID,
    hand: HandMade,
    registry: CollectorRegistry,
    store: ArtifactStore,
) -> None:
    await write(hand, database, run_id, "loss", range(3))
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
        await eventually(lambda: registry.get_sample_value(FAILURES, {"step": "purge"}))
    assert (await left(database))["runs"] == 2
