"""`runstream import mlflow` from a server and from its database: the same runs are on both sides."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

import runstream
from tests.imports.conftest import MlflowSource
from tests.imports.source_data import STEPS, Filled
from tests.imports.support import model_of, registered_of, run_import, run_of
from tests.support.serve import ServeProcess

_POINTS = STEPS + 6  # of a run with metrics


@dataclass(frozen=True)
class Brought:
    """The data that were imported, and their source."""

    place: str
    filled: Filled


@pytest.fixture(scope="module", params=["database", "server"])
def brought(request: pytest.FixtureRequest, source: MlflowSource, service: ServeProcess) -> Brought:
    """Some experiments from the database, others over HTTP; both in one service."""
    is_database = request.param == "database"
    found = Brought(*(source.database, source.of_database) if is_database else (source.url, source.of_server))
    done = run_import(service, found.place, *only(found.filled), source.files)
    assert (done.code, done.counts("runs"), done.counts("points")) == (0, (7, 0), (5 * _POINTS + 1, 0)), done.err
    assert done.counts("files") == (12, 0)
    assert "1 deleted runs were left out" in done.out
    return found


def only(filled: Filled) -> list[str]:
    return [f"--experiment={name}" for name in filled.experiments]


def test_runs_are_the_same_on_both_sides(source: MlflowSource, service: ServeProcess, brought: Brought) -> None:
    for run_id in brought.filled.runs.values():
        if run_id != brought.filled.deleted_run:
            assert run_of(service.http_url, run_id) == run_of(source.url, run_id)


def test_logged_models_are_the_same_on_both_sides(
    source: MlflowSource, service: ServeProcess, brought: Brought
) -> None:
    assert model_of(service.http_url, brought.filled.model) == model_of(source.url, brought.filled.model)


def test_values_that_are_no_numbers_are_the_same(client: runstream.Client, brought: Brought) -> None:
    run_id = next(iter(brought.filled.runs.values()))
    points = list(client.history(run_id, "lr: log10/a b"))
    assert [point.step for point in points] == [-5, 1, 1, 1, 1]
    assert math.isnan(points[0].value)
    # SQLite keeps no minus before a zero.
    assert {repr(point.value) for point in points[1:]} == {"inf", "-inf", "0.0", "5e-324"}


def test_experiments_keep_their_tags_and_times(source: MlflowSource, service: ServeProcess, brought: Brought) -> None:
    ours, theirs = mlflow.MlflowClient(service.http_url), mlflow.MlflowClient(source.url)
    for name in brought.filled.experiments:
        here, there = ours.get_experiment_by_name(name), theirs.get_experiment_by_name(name)
        assert here is not None
        assert there is not None
        assert (here.tags["team"], here.tags["purpose"]) == (there.tags["team"], "importing ä")
        assert here.creation_time == there.creation_time


def test_a_second_import_changes_nothing(source: MlflowSource, service: ServeProcess, brought: Brought) -> None:
    for place in (source.url, source.database):
        done = run_import(service, place, *only(brought.filled), source.files)
        assert (done.code, done.counts("runs"), done.counts("points")) == (0, (0, 7), (0, 5 * _POINTS + 1)), done.err
        assert done.counts("files") == (0, 12)


def test_what_is_logged_in_the_meantime_comes_with_the_next_import(service: ServeProcess, database: Path) -> None:
    place = f"sqlite:///{database}"
    theirs = mlflow.MlflowClient(place, place)
    experiment = theirs.create_experiment("goes on")
    run_id = theirs.create_run(experiment, run_name="first").info.run_id
    for step in range(5):
        theirs.log_metric(run_id, "loss", step / 2, step=step)
    first = run_import(service, place)
    assert (first.code, first.counts("runs"), first.counts("points")) == (0, (1, 0), (5, 0)), first.err
    for step in range(3, 9):
        theirs.log_metric(run_id, "loss", step / 4, step=step)
    theirs.log_param(run_id, "late", "yes")
    theirs.set_terminated(run_id)
    second = run_import(service, place)
    assert (second.code, second.counts("runs"), second.counts("points")) == (0, (0, 1), (6, 5)), second.err
    assert run_of(service.http_url, run_id) == run_of(place, run_id)


def test_a_run_with_other_content_is_named_and_the_rest_comes(service: ServeProcess, database: Path) -> None:
    place = f"sqlite:///{database}"
    theirs = mlflow.MlflowClient(place, place)
    experiment = theirs.create_experiment("in conflict")
    runs = [theirs.create_run(experiment, run_name=f"run {number}").info.run_id for number in range(4)]
    for run_id in runs:
        theirs.log_param(run_id, "lr", "0.1")
    assert run_import(service, place).code == 0
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE params SET value = '0.2' WHERE run_uuid = ?", (runs[0],))
        connection.execute("UPDATE runs SET start_time = start_time + 1 WHERE run_uuid = ?", (runs[1],))
    theirs.set_tag(runs[3], "new", "tag")
    with runstream.Client(service.grpc_address) as client:
        client.delete_run(runs[2])
    done = run_import(service, place)
    assert done.code == 1
    for run_id, said in zip(
        runs, ("its param 'lr' is '0.1', not '0.2'", "another start", "is deleted here"), strict=False
    ):
        assert any(run_id in line and said in line for line in done.err.splitlines()), done.err
    assert done.counts("runs") == (0, 1)
    assert run_of(service.http_url, runs[3])["tags"]["new"] == "tag"


def test_a_wrong_source_is_an_error_that_says_what_is_expected(service: ServeProcess, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").close()
    for source, said in (
        (f"sqlite:///{tmp_path}/none.db", "there is no file"),
        (f"sqlite:///{tmp_path}/other.db", "there is no table 'experiments'"),
        ("mysql://user:secret@host/mlflow", "mlflow server --backend-store-uri"),
        ("http://127.0.0.1:1", "no MLflow server responds there"),
        ("ftp://host/x", "is not a source"),
    ):
        done = run_import(service, source)
        assert done.code == 2, done
        assert said in done.err
        assert "secret" not in done.err


def test_the_registry_comes_with_the_numbers_of_its_versions(source: MlflowSource, service: ServeProcess) -> None:
    done = run_import(service, source.database, source.files, "--verify")  # all experiments
    assert done.code == 0, done.err
    assert (done.counts("registered models"), done.counts("model versions")) == ((2, 0), (4, 0))
    for filled in (source.of_database, source.of_server):
        ours = registered_of(service.http_url, filled.registered)
        assert ours == registered_of(source.url, filled.registered)
        assert [one["version"] for one in ours["versions"]] == ["3", "2"]
    assert run_import(service, source.url).counts("model versions") == (0, 4)
    client, model = mlflow.MlflowClient(service.http_url), source.of_database.model
    assert client.create_model_version(filled.registered, f"models:/{model}", model_id=model).version == "4"


def test_files_are_compared_by_their_sizes_and_on_request_by_what_is_in_them(
    service: ServeProcess, database: Path, tmp_path: Path
) -> None:
    place = f"sqlite:///{database}"
    theirs = mlflow.MlflowClient(place, place)
    run_id = theirs.create_run(theirs.create_experiment("files", str(tmp_path / "files"))).info.run_id
    for name in ("same", "changed"):
        theirs.log_text(run_id, "before", f"{name}.txt")
    done = run_import(service, place, "--verify")
    assert "equal; of files, only sizes were compared (--checksum: contents)" in done.out, done
    assert "everything in the source is here, and equal\n" in run_import(service, place, "--verify", "--checksum").out
    (tmp_path / "files" / run_id / "artifacts" / "changed.txt").write_text("behind")
    assert run_import(service, place, "--verify").code == 0
    done = run_import(service, place, "--verify", "--checksum")
    assert done.code == 1
    assert "1 of its files are missing or different, such as changed.txt" in done.err
    assert run_import(service, place, "--checksum").code == 2
