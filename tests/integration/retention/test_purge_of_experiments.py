"""Purge of experiments, with their last run, and with everything that belongs to them."""

from __future__ import annotations

import asyncio
from uuid import UUID

from prometheus_client import CollectorRegistry

from runstream.v1 import run_pb2
from runstream_service.core.experiments import Experiments
from runstream_service.core.logged_models import LoggedModels, NewModel
from runstream_service.core.model_versions import ModelVersions, NewVersion
from runstream_service.core.registered_models import RegisteredModels
from runstream_service.database.pool import Database
from runstream_service.retention import purge
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.purge import Purge
from tests.integration.retention.conftest import refused, write
from tests.support.callers import ANYONE
from tests.support.locks import waiting_for_a_lock
from tests.support.rolling import roll_up
from tests.support.rpc import Services
from tests.support.tail import ManualCommit


async def delete_experiment(database: Database, name: str) -> int:
    experiments = Experiments(database)
    experiment = await experiments.get(ANYONE, name=name)
    await experiments.delete(ANYONE, experiment.experiment_id)
    return experiment.experiment_id


async def test_a_purged_experiment_frees_its_name_at_once_and_goes_with_its_last_run(
    services: Services, database: Database, manual: ManualCommit, purger: Purge
) -> None:
    created = await services.runs.CreateRun(run_pb2.CreateRunRequest(experiment="mine"))
    await write(manual, database, UUID(created.run.run_id), "loss", range(3))
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
