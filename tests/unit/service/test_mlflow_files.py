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


def test_a_damaged_metric_of_a_logged_model_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    metrics = tmp_path / EXPERIMENT / "models" / "m-1" / "metrics"
    metrics.mkdir(parents=True)
    (tmp_path / EXPERIMENT / "meta.yaml").write_text("name: digits\n")
    (metrics.parent / "meta.yaml").write_text("name: best\n")
    (metrics / "loss").write_text("1700000000000 0.5 1\n")
    with MlflowFiles(tmp_path) as source:
        (experiment,) = source.experiments()
        with pytest.raises(SourceError, match="metrics/loss: line 1 is not a metric"):
            list(source.logged_models(experiment))
