"""MLflow's file store, the directory mlruns of versions 1 to 3: a directory for each thing, a file for each metric,
param and tag."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from runstream_service.core.datasets import Dataset, DatasetInput, ModelOutput
from runstream_service.core.imported import ImportedMetric
from runstream_service.importing.mlflow_registry_files import read_registered_models
from runstream_service.importing.records import (
    FileOwner,
    Points,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegisteredModel,
    SourceRun,
    finite_or_not,
    unix_us,
)
from runstream_service.importing.source import Source, SourceError
from runstream_service.importing.source_files import SourceFiles

META, TRASH, REGISTRY = "meta.yaml", ".trash", "models"
RUN_NAME = "mlflow.runName"
_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_MODEL_STATUSES = {1: "pending", 2: "ready", 3: "failed"}
_PIECE_POINTS = 32_768
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class MlflowFiles(Source):
    """A source of an import: see Source for its methods."""

    runs_at_once = 1

    def __init__(self, root: Path) -> None:
        """Raises ValueError for a directory that is none."""
        self._root = root.resolve()
        self._files = SourceFiles(self._root.parent)
        self._problems: list[str] = []
        self._places: dict[str, Path] = {}  # of experiments, by their ids
        for parent in (self._root, self._root / TRASH):
            for path in sorted(parent.iterdir()) if parent.is_dir() else ():
                if path.name not in (TRASH, REGISTRY) and (path / META).is_file():
                    self._places[path.name] = path
        if not self._places and not (self._root / REGISTRY).is_dir():
            raise ValueError(f"{root}: no mlruns of MLflow: none of its directories has a {META}")

    def describe(self) -> str:
        return f"MLflow's files in {self._root}"

    def experiments(self) -> list[SourceExperiment]:
        found = []
        for place in self._places.values():
            meta = read_meta(place)
            found.append(
                SourceExperiment(
                    source_id=place.name,
                    name=str(meta.get("name", place.name)),
                    deleted=meta.get("lifecycle_stage") == "deleted",
                    created_unix_us=unix_us(meta.get("creation_time")),
                    updated_unix_us=unix_us(meta.get("last_update_time")),
                    tags=read_entries(place / "tags"),
                )
            )
        return found

    def run_count(self) -> int | None:
        return sum(1 for place in self._places.values() for _ in _runs_in(place))

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        for path in _runs_in(self._places[experiment.source_id]):
            try:
                run = self._run(experiment, path)
            except SourceError as error:
                self._problems.append(f"run {path.name}: {error}; it was left out")
                continue
            yield run

    def points(self, runs: Sequence[SourceRun]) -> Iterator[Points]:
        for run in runs:
            for key, path in _leaves(self._places[run.experiment_id] / run.run_id / "metrics"):
                yield from _read_metric(run.run_id, key, path)

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        models = self._places[experiment.source_id] / "models"
        for path in sorted(models.iterdir()) if models.is_dir() else ():
            if not (path / META).is_file():
                continue
            try:
                model = _logged_model(experiment, path)
            except SourceError as error:
                self._problems.append(f"logged model {path.name}: {error}; it was left out")
                continue
            yield model

    def registered_models(self) -> Iterator[SourceRegisteredModel]:
        return read_registered_models(self._root / REGISTRY, read_meta, read_entries)

    def files(self, owner: FileOwner) -> Iterator[SourceFile]:
        return self._files.list(self._moved(owner))

    def open_file(self, owner: FileOwner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        return self._files.open(self._moved(owner), path)

    def problems(self) -> Sequence[str]:
        return self._problems

    def close(self) -> None:
        pass

    def _moved(self, owner: FileOwner) -> FileOwner:
        """The directory may have been moved since: files are looked for where they lie by default first."""
        for place in self._places.values():
            below = place / ("models" if owner.kind == "model" else "") / owner.owner_id
            if (below / "artifacts").is_dir():
                return owner._replace(uri=str(below / "artifacts"))
        return owner

    def _run(self, experiment: SourceExperiment, path: Path) -> SourceRun:
        meta, tags = read_meta(path), read_entries(path / "tags")
        status = meta.get("status", 3)
        datasets, models_in = self._inputs(experiment, path)
        return SourceRun(
            run_id=path.name,
            experiment_id=experiment.source_id,
            name=tags.pop(RUN_NAME, "") or str(meta.get("run_name") or meta.get("name") or ""),
            user=str(meta.get("user_id") or ""),
            status=_STATUSES.get(status, str(status)),
            start_unix_us=unix_us(meta.get("start_time")),
            end_unix_us=unix_us(meta.get("end_time")),
            deleted=meta.get("lifecycle_stage") == "deleted",
            artifact_uri=str(meta.get("artifact_uri") or ""),
            params=read_entries(path / "params"),
            tags=tags,
            datasets=datasets,
            models_in=models_in,
            models_out=_outputs(path),
        )

    def _inputs(self, experiment: SourceExperiment, path: Path) -> tuple[list[DatasetInput], list[str]]:
        datasets: list[DatasetInput] = []
        models: list[str] = []
        for each in sorted((path / "inputs").iterdir()) if (path / "inputs").is_dir() else ():
            found = read_meta(each)
            if "MODEL" in str(found.get("source_type")):
                models.append(str(found["source_id"]))
                continue
            meta = read_meta(self._places[experiment.source_id] / "datasets" / str(found["source_id"]))
            dataset = Dataset(
                name=str(meta["name"]),
                digest=str(meta["digest"]),
                source_type=str(meta.get("source_type") or ""),
                source=str(meta.get("source") or ""),
                schema=meta.get("schema"),
                profile=meta.get("profile"),
            )
            datasets.append(
                DatasetInput(dataset, {key: str(value) for key, value in (found.get("tags") or {}).items()})
            )
        return datasets, models


def read_meta(place: Path) -> dict[str, Any]:
    """The meta.yaml of a directory. Raises SourceError."""
    try:
        with open(place / META, encoding="utf-8") as file:
            meta = yaml.load(file, _Loader)  # noqa: S506 (a safe loader, in C where there is one)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(f"{place / META} cannot be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(meta, dict):
        raise SourceError(f"{place / META} is empty, or has no fields")
    return meta


def read_entries(directory: Path) -> dict[str, str]:
    """Params or tags: each is a file, whose name may be a path."""
    return {key: _read_text(path) for key, path in _leaves(directory)}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _leaves(directory: Path) -> Iterator[tuple[str, Path]]:
    for parent, _, names in os.walk(directory):
        for name in sorted(names):
            path = Path(parent, name)
            yield path.relative_to(directory).as_posix(), path


def _runs_in(place: Path) -> Iterator[Path]:
    for path in sorted(place.iterdir()):
        if (path / META).is_file() and path.name != "datasets":
            yield path


def _read_metric(run_id: str, key: str, path: Path) -> Iterator[Points]:
    """The points in a file of lines with time, value and step. Early versions wrote no step; a metric on a dataset has
    two more fields. Raises SourceError."""
    number = 0
    for lines in _pieces_of_lines(path):
        try:
            rows = [line.split() for line in lines]
            columns = (
                np.array([int(row[2]) if len(row) > 2 else 0 for row in rows if row], np.int64),
                np.array([int(row[0]) for row in rows if row], np.int64) * 1_000,
                np.array([float(row[1]) for row in rows if row], np.float64),
            )
        except (ValueError, IndexError, OverflowError) as error:
            raise SourceError(f"{path}: a line after line {number:,} is not a point: {error}") from error
        number += len(lines)
        yield Points(run_id, key, columns[0], columns[1], finite_or_not(columns[2]))


def _pieces_of_lines(path: Path) -> Iterator[list[str]]:
    """The lines of a file in pieces of at most _PIECE_POINTS. Raises SourceError."""
    try:
        with open(path, encoding="utf-8") as file:
            while lines := list(islice(file, _PIECE_POINTS)):
                yield lines
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _outputs(path: Path) -> list[ModelOutput]:
    outputs = path / "outputs"
    found = [(each.name, read_meta(each)) for each in sorted(outputs.iterdir())] if outputs.is_dir() else []
    return [ModelOutput(name, int(meta.get("step") or 0)) for name, meta in found]


def _logged_model(experiment: SourceExperiment, path: Path) -> SourceModel:
    meta = read_meta(path)
    return SourceModel(
        model_id=path.name,
        experiment_id=experiment.source_id,
        name=str(meta.get("name") or ""),
        model_type=str(meta.get("model_type") or ""),
        status=_MODEL_STATUSES.get(meta.get("status", 2), "ready"),
        source_run_id=str(meta.get("source_run_id") or ""),
        created_unix_us=unix_us(meta.get("creation_timestamp")),
        updated_unix_us=unix_us(meta.get("last_updated_timestamp")),
        deleted=meta.get("lifecycle_stage") == "deleted",
        artifact_uri=str(meta.get("artifact_location") or ""),
        params=read_entries(path / "params"),
        tags=read_entries(path / "tags"),
        metrics=[metric for key, file in _leaves(path / "metrics") for metric in _model_metrics(key, file)],
    )


def _model_metrics(key: str, path: Path) -> Iterator[ImportedMetric]:
    """The metrics of a logged model in a file of lines with time, value, step and run, and maybe a dataset's name and
    digest. Raises SourceError."""
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        try:
            time, value, step, run_id, *dataset = line.split()
            name, digest = dataset if len(dataset) == 2 else ("", "")
            yield ImportedMetric(
                run_id=run_id,
                key=key,
                value=float(value),
                time_unix_us=unix_us(time),
                step=int(step),
                dataset_name=name,
                dataset_digest=digest,
            )
        except (ValueError, OverflowError) as error:
            raise SourceError(f"{path}: line {number:,} is not a metric: {error}") from error
