"""The files of what was purged are deleted, those of a registered version stay, and orphans are found."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from runstream_service.artifacts.paths import path_of_uri
from runstream_service.artifacts.store import ArtifactStore
from runstream_service.core.experiments import Experiments
from runstream_service.core.logged_models import LoggedModels, NewModel
from runstream_service.core.model_versions import ModelVersions, NewVersion
from runstream_service.core.registered_models import RegisteredModels
from runstream_service.core.run_rows import Run
from runstream_service.core.runs import Runs
from runstream_service.database.pool import Database
from runstream_service.errors.core import StoreUnavailable
from runstream_service.retention.metrics import RetentionMetrics
from runstream_service.retention.orphans import Orphan, Orphans
from runstream_service.retention.purge import Purge
from runstream_service.retention.purged_files import PurgedFiles
from tests.support.callers import ANYONE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(root: Path) -> ArtifactStore:
    return ArtifactStore.open(str(root))


@pytest.fixture
def purge(database: Database) -> Purge:
    return Purge(database, RetentionMetrics(CollectorRegistry()), purge_after_days=0)


@pytest.fixture
def files(database: Database, store: ArtifactStore) -> PurgedFiles:
    return PurgedFiles(database, store)


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database, Experiments(database))


async def new_run(runs: Runs, experiment_id: int = 0) -> Run:
    return await runs.create_in(ANYONE, experiment_id, started_at_unix_us=1_767_225_600_000_000)


def put(root: Path, uri: str, name: str = "a/file.txt", *, days_old: float = 0) -> Path:
    """Writes a file of a run or a model as an upload does."""
    path = path_of_uri(uri)
    assert path is not None
    file = root / path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x" * 10)
    then = time.time() - days_old * 86_400
    os.utime(file, (then, then))
    return file


async def due_again(database: Database) -> None:
    await database.execute("UPDATE purged_artifacts SET not_before = now()")


async def test_the_files_of_a_purged_run_are_deleted_and_no_others(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles
) -> None:
    gone, kept = await new_run(runs), await new_run(runs)
    of_gone, of_kept = put(root, gone.artifact_uri), put(root, kept.artifact_uri)
    await runs.delete(ANYONE, gone.run_id.hex)
    assert (await purge.run_once()).runs == 1
    assert of_gone.exists()  # by a step of its own
    assert await files.run_once() == 1
    assert not of_gone.parent.parent.parent.exists()
    assert of_kept.exists()
    assert await database.fetchval(PurgedFiles.COUNT) == 0


async def test_what_fails_is_tried_again_and_stops_nothing_else(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles, store: ArtifactStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    both = [await new_run(runs) for _ in range(2)]
    written = [put(root, run.artifact_uri) for run in both]
    for run in both:
        await runs.delete(ANYONE, run.run_id.hex)
    await purge.run_once()
    delete = store.delete

    async def fail_once(path: str) -> None:
        monkeypatch.setattr(store, "delete", delete)
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(store, "delete", fail_once)
    with pytest.raises(StoreUnavailable):
        await files.run_once()
    assert [file.exists() for file in written].count(True) == 1
    assert await files.run_once() == 0  # not at once
    await due_again(database)
    assert await files.run_once() == 1
    assert not any(file.exists() for file in written)


async def test_files_of_a_deleted_model_go_with_its_row(
    database: Database, root: Path, purge: Purge, files: PurgedFiles
) -> None:
    models = LoggedModels(database)
    gone, kept = [await models.create(ANYONE, NewModel(experiment_id=0)) for _ in range(2)]
    of_gone, of_kept = put(root, gone.artifact_uri), put(root, kept.artifact_uri)
    await models.delete(ANYONE, gone.model_id)
    assert (await purge.run_once()).models == 1
    await files.run_once()
    assert not of_gone.exists()
    assert of_kept.exists()


async def test_files_that_a_registered_version_has_stay_until_it_is_deleted(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles
) -> None:
    experiment = await Experiments(database).create_new(ANYONE, "mine")
    run = await new_run(runs, experiment.experiment_id)
    file = put(root, run.artifact_uri, "model/MLmodel")
    await RegisteredModels(database).create(ANYONE, "registered")
    versions = ModelVersions(database)
    await versions.create(
        ANYONE, NewVersion(name="registered", source=f"{run.artifact_uri}/model", run_id=run.run_id.hex)
    )
    await Experiments(database).delete(ANYONE, experiment.experiment_id)
    done = await purge.run_once()
    assert (done.runs, done.experiments) == (1, 1)
    assert await files.run_once() == 0
    assert file.exists()
    await versions.delete(ANYONE, "registered", "1")
    await due_again(database)
    assert await files.run_once() == 2
    assert not (root / str(experiment.experiment_id)).exists()


async def test_files_that_a_version_names_by_its_run_alone_stay_too(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles
) -> None:
    experiment = await Experiments(database).create_new(ANYONE, "mine")
    run, other = [await new_run(runs, experiment.experiment_id) for _ in range(2)]
    file, of_other = put(root, run.artifact_uri, "model/MLmodel"), put(root, other.artifact_uri)
    await RegisteredModels(database).create(ANYONE, "registered")
    source = f"runs:/{run.run_id.hex}/model"
    versions = ModelVersions(database)
    await versions.create(ANYONE, NewVersion(name="registered", source=source, run_id=run.run_id.hex))
    await Experiments(database).delete(ANYONE, experiment.experiment_id)
    assert (await purge.run_once()).experiments == 1
    assert await files.run_once() == 1
    assert (file.exists(), of_other.exists()) == (True, False)
    await versions.delete(ANYONE, "registered", "1")
    await due_again(database)
    assert await files.run_once() == 2


async def test_the_directory_of_a_purged_experiment_goes_and_a_place_that_was_chosen_for_it_stays(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles
) -> None:
    experiments = Experiments(database)
    own = await experiments.create_new(ANYONE, "own")
    chosen = await experiments.create_new(ANYONE, "chosen", artifact_location="mlflow-artifacts:/shared/place")
    outside = await experiments.create_new(ANYONE, "outside", artifact_location="s3://somebody/else")
    stray = put(root, own.artifact_location)
    others = put(root, chosen.artifact_location)
    of_run = put(root, (await new_run(runs, chosen.experiment_id)).artifact_uri)
    await new_run(runs, outside.experiment_id)
    for one in (own, chosen, outside):
        await experiments.delete(ANYONE, one.experiment_id)
    assert (await purge.run_once()).experiments == 3
    assert await files.run_once() == 2
    assert not stray.exists()
    assert not of_run.exists()
    assert others.exists()


async def test_an_experiment_that_keeps_its_files_in_the_place_of_a_purged_one_keeps_them(
    database: Database, root: Path, purge: Purge, files: PurgedFiles
) -> None:
    experiments = Experiments(database)
    gone = await experiments.create_new(ANYONE, "gone")
    within = f"mlflow-artifacts:/{gone.experiment_id}/sub"
    await experiments.create_new(ANYONE, "within", artifact_location=within)
    file = put(root, within)
    await experiments.delete(ANYONE, gone.experiment_id)
    await purge.run_once()
    assert await files.run_once() == 0
    assert file.exists()


async def test_the_whole_store_is_never_what_is_deleted(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles
) -> None:
    everywhere = await Experiments(database).create_new(ANYONE, "everywhere", artifact_location="mlflow-artifacts:/")
    run = await new_run(runs, everywhere.experiment_id)
    of_run, others = put(root, run.artifact_uri), put(root, "mlflow-artifacts:/0")
    await Experiments(database).delete(ANYONE, everywhere.experiment_id)
    await purge.run_once()
    await files.run_once()
    assert not of_run.exists()
    assert others.exists()


async def test_a_directory_that_a_link_leads_out_of_the_store_is_left_alone(
    database: Database, root: Path, runs: Runs, purge: Purge, files: PurgedFiles, tmp_path: Path
) -> None:
    run = await new_run(runs)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    (root / "0").mkdir()
    (root / "0" / run.run_id.hex).symlink_to(precious)
    await runs.delete(ANYONE, run.run_id.hex)
    await purge.run_once()
    await files.run_once()
    assert (precious / "file").exists()
    assert await database.fetchval(PurgedFiles.COUNT) == 0


async def test_a_replica_without_artifacts_leaves_them_to_others(database: Database, runs: Runs, purge: Purge) -> None:
    run = await new_run(runs)
    await runs.delete(ANYONE, run.run_id.hex)
    await purge.run_once()
    assert await PurgedFiles(database, ArtifactStore.open("none")).run_once() == 0
    assert await database.fetchval(PurgedFiles.COUNT) == 1


# -- orphans ---------------------------------------------------------------------------------------------------------


async def test_orphans_are_what_no_row_has_and_nothing_needs(
    database: Database, root: Path, runs: Runs, store: ArtifactStore
) -> None:
    experiments, models = Experiments(database), LoggedModels(database)
    chosen = await experiments.create_new(ANYONE, "chosen", artifact_location="mlflow-artifacts:/shared/place")
    gone = await experiments.create_new(ANYONE, "gone")
    kept = await new_run(runs)
    deleted = await new_run(runs)
    await runs.delete(ANYONE, deleted.run_id.hex)
    model = await models.create(ANYONE, NewModel(experiment_id=0))
    for uri in (kept.artifact_uri, deleted.artifact_uri, model.artifact_uri):
        put(root, uri, days_old=2)
    put(root, "mlflow-artifacts:/0/my-own-things", days_old=2)
    put(root, "mlflow-artifacts:/999", days_old=2)  # of another database
    put(root, f"mlflow-artifacts:/0/{'a' * 32}/artifacts")  # of today
    await database.execute("DELETE FROM experiments WHERE experiment_id = $1", gone.experiment_id)
    orphans = [
        f"{gone.experiment_id}",
        f"0/{'b' * 32}",
        f"0/models/m-{'c' * 32}",
        f"shared/place/{'d' * 32}",
    ]
    for path in orphans:
        put(root, f"mlflow-artifacts:/{path}/artifacts", days_old=2)
        put(root, f"mlflow-artifacts:/{path}/artifacts", "b", days_old=3)
    found = [orphan async for orphan in Orphans(database, store).find()]
    assert sorted(found, key=lambda one: one.path) == [Orphan(path, 2, 20) for path in sorted(orphans)]
    assert chosen.artifact_location == "mlflow-artifacts:/shared/place"


async def test_an_orphan_that_a_registered_version_needs_is_none(
    database: Database, root: Path, runs: Runs, store: ArtifactStore
) -> None:
    run = await new_run(runs)
    put(root, run.artifact_uri, "model/MLmodel", days_old=2)
    await RegisteredModels(database).create(ANYONE, "registered")
    await ModelVersions(database).create(
        ANYONE, NewVersion(name="registered", source=f"{run.artifact_uri}/model", run_id=run.run_id.hex)
    )
    await database.execute("DELETE FROM runs")
    assert [orphan async for orphan in Orphans(database, store).find()] == []
    await database.execute("DELETE FROM registered_models")
    assert [orphan.path async for orphan in Orphans(database, store).find()] == [f"0/{run.run_id.hex}"]
