"""Damaged files below an mlruns directory are errors of the run, so that the import continues with the next run."""

from __future__ import annotations

from pathlib import Path

import pytest

from runstream_service.importing.mlflow_files import MlflowFiles
from runstream_service.importing.source import SourceError

EXPERIMENT, RUN = "7", "a" * 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1700000000000 0.5 1\n1700000001000 \xff 2\n", "cannot be read"),
        (b"1700000000000 0.5 1\n1700000001000 half 2\n", "is not a point"),
    ],
)
def test_a_damaged_metric_file_is_an_error_of_its_run(tmp_path: Path, content: bytes, message: str) -> None:
    metrics = tmp_path / EXPERIMENT / RUN / "metrics"
    metrics.mkdir(parents=True)
    (tmp_path / EXPERIMENT / "meta.yaml").write_text("name: digits\n")
    (metrics.parent / "meta.yaml").write_text("status: 3\n")
    (metrics / "loss").write_bytes(content)
    with MlflowFiles(tmp_path) as source:
        (experiment,) = source.experiments()
        (run,) = source.runs(experiment)
        with pytest.raises(SourceError, match=f"metrics/loss.*{message}"):
            list(source.points([run]))


def test_a_damaged_run_or_logged_model_is_left_out_and_named(tmp_path: Path) -> None:
    experiment_directory = tmp_path / EXPERIMENT
    good, damaged, model = (experiment_directory / name for name in (RUN, "b" * 32, f"models/m-{'c' * 32}"))
    for directory in (good, damaged, model / "metrics"):
        directory.mkdir(parents=True)
    (experiment_directory / "meta.yaml").write_text("name: digits\n")
    (good / "meta.yaml").write_text("status: 3\n")
    (damaged / "meta.yaml").write_text("status: [\n")
    (model / "meta.yaml").write_text("name: best\n")
    (model / "metrics" / "loss").write_text("1700000000000 0.5 1\n")
    with MlflowFiles(tmp_path) as source:
        (experiment,) = source.experiments()
        assert [run.run_id for run in source.runs(experiment)] == [RUN]
        assert list(source.logged_models(experiment)) == []
        of_run, of_model = source.problems()
    assert of_run.startswith(f"run {damaged.name}: {damaged / 'meta.yaml'} cannot be read")
    assert of_model.startswith(f"logged model {model.name}: {model / 'metrics' / 'loss'}: line 1 is not a metric")
