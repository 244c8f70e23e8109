"""Reads inputs, logged models and the registry from a database of MLflow. Early versions lack these tables, which
counts as empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from runstream_service.core.datasets import Dataset, DatasetInput, ModelOutput
from runstream_service.core.imported import ImportedMetric
from runstream_service.importing.databases import Row, SourceDatabase
from runstream_service.importing.records import (
    SourceExperiment,
    SourceModel,
    SourceRegisteredModel,
    SourceVersion,
    finite_or_not,
    unix_us,
)

DEFAULT_WORKSPACE = "default"
DELETED_STAGE = "Deleted_Internal"  # of deleted versions, whose rows MLflow keeps
_STATUSES = {1: "pending", 2: "ready", 3: "failed"}
_PAGE = 200


class Inputs:
    """The datasets and models that some runs read, and the models that they made, by run id."""

    def __init__(self, database: SourceDatabase, run_ids: Sequence[str]) -> None:
        self.datasets: dict[str, list[DatasetInput]] = {}
        self.models_in: dict[str, list[str]] = {}
        self.models_out: dict[str, list[ModelOutput]] = {}
        columns = database.columns("inputs")
        if not columns:
            return
        marks = ", ".join("?" * len(run_ids))
        self._read_datasets(database, marks, run_ids)
        step = "step" if "step" in columns else "0"
        for kind, run_id, model_id, at in database.rows(
            f"SELECT source_type, source_id, destination_id, {step} FROM inputs "  # noqa: S608
            f"WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id IN ({marks}) ORDER BY destination_id",
            *run_ids,
        ):
            if kind == "RUN_INPUT":
                self.models_in.setdefault(run_id, []).append(model_id)
            else:
                self.models_out.setdefault(run_id, []).append(ModelOutput(model_id, at or 0))

    def _read_datasets(self, database: SourceDatabase, marks: str, run_ids: Sequence[str]) -> None:
        tags: dict[str, dict[str, str]] = {}
        of_runs = f"i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN ({marks})"
        for input_id, name, value in database.rows(
            f"SELECT t.input_uuid, t.name, t.value FROM input_tags t JOIN inputs i USING (input_uuid) WHERE {of_runs}",  # noqa: S608
            *run_ids,
        ):
            tags.setdefault(input_id, {})[name] = value
        for run_id, input_id, name, digest, kind, source, schema, profile in database.rows(
            "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, "  # noqa: S608
            f"d.dataset_schema, d.dataset_profile FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
            f"WHERE {of_runs} ORDER BY d.name, d.digest",
            *run_ids,
        ):
            dataset = Dataset(
                name=name, digest=digest, source_type=kind or "", source=source or "", schema=schema, profile=profile
            )
            self.datasets.setdefault(run_id, []).append(DatasetInput(dataset, tags.get(input_id, {})))


def read_logged_models(database: SourceDatabase, experiment: SourceExperiment) -> Iterator[SourceModel]:
    """The logged models of an experiment, including deleted ones. Raises SourceError."""
    if not database.columns("logged_models"):
        return
    statement = (
        "SELECT model_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, "  # noqa: S608
        "lifecycle_stage, model_type, source_run_id FROM logged_models WHERE experiment_id = ? AND model_id > ? "
        f"ORDER BY model_id LIMIT {_PAGE}"
    )
    after = ""
    while rows := database.rows(statement, int(experiment.source_id), after):
        after = rows[-1][0]
        ids = [row[0] for row in rows]
        params = _entries(database, "logged_model_params", "model_id, param_key, param_value", ids)
        tags = _entries(database, "logged_model_tags", "model_id, tag_key, tag_value", ids)
        metrics = _metrics(database, ids)
        for row in rows:
            model_id, name, place, created, updated, status, lifecycle, kind, run_id = row
            yield SourceModel(
                model_id=model_id,
                experiment_id=experiment.source_id,
                name=name,
                model_type=kind or "",
                status=_STATUSES.get(status, "ready"),
                source_run_id=run_id or "",
                created_unix_us=unix_us(created),
                updated_unix_us=unix_us(updated),
                deleted=lifecycle == "deleted",
                artifact_uri=place or "",
                params=params.get(model_id, {}),
                tags=tags.get(model_id, {}),
                metrics=metrics.get(model_id, []),
            )


def _entries(database: SourceDatabase, table: str, columns: str, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    marks = ", ".join("?" * len(ids))
    found: dict[str, dict[str, str]] = {}
    for owner, key, value in database.rows(f"SELECT {columns} FROM {table} WHERE model_id IN ({marks})", *ids):  # noqa: S608
        found.setdefault(owner, {})[key] = value or ""
    return found


def _metrics(database: SourceDatabase, ids: Sequence[str]) -> dict[str, list[ImportedMetric]]:
    marks = ", ".join("?" * len(ids))
    found: dict[str, list[ImportedMetric]] = {}
    for row in database.rows(
        "SELECT model_id, run_id, metric_name, metric_value, metric_timestamp_ms, metric_step, dataset_name, "  # noqa: S608
        f"dataset_digest FROM logged_model_metrics WHERE model_id IN ({marks})",
        *ids,
    ):
        model_id, run_id, key, value, time, step, dataset, digest = row
        (plain,) = finite_or_not(np.array([np.nan if value is None else value], np.float64))
        metric = ImportedMetric(
            run_id=run_id,
            key=key,
            value=float(plain),
            time_unix_us=unix_us(time),
            step=step or 0,
            dataset_name=dataset or "",
            dataset_digest=digest or "",
        )
        found.setdefault(model_id, []).append(metric)
    return found


def read_registered_models(database: SourceDatabase) -> Iterator[SourceRegisteredModel]:
    """All registered models with their versions. Raises SourceError."""
    columns = database.columns("registered_models")
    if not columns:
        return
    where = f"WHERE workspace = '{DEFAULT_WORKSPACE}'" if "workspace" in columns else ""
    tags = _registry_rows(database, "registered_model_tags", "name, key, value", where)
    aliases = _registry_rows(database, "registered_model_aliases", "name, alias, version", where)
    rows = database.rows(
        f"SELECT name, description, creation_time, last_updated_time FROM registered_models {where} ORDER BY name"  # noqa: S608
    )
    for name, description, created, updated in rows:
        yield SourceRegisteredModel(
            name=name,
            description=description or "",
            created_unix_us=unix_us(created),
            updated_unix_us=unix_us(updated),
            tags={row[1]: row[2] or "" for row in tags.get(name, ())},
            aliases={row[1]: row[2] for row in aliases.get(name, ())},
            versions=list(_versions(database, name, where)),
        )


def _versions(database: SourceDatabase, name: str, where: str) -> Iterator[SourceVersion]:
    of_name = f"{where} AND name = ?" if where else "WHERE name = ?"
    tags: dict[int, dict[str, str]] = {}
    if database.columns("model_version_tags"):
        for version, key, value in database.rows(
            f"SELECT version, key, value FROM model_version_tags {of_name}",  # noqa: S608
            name,
        ):
            tags.setdefault(version, {})[key] = value or ""
    run_link = "run_link" if "run_link" in database.columns("model_versions") else "''"
    for row in database.rows(
        f"SELECT version, source, description, current_stage, run_id, {run_link}, creation_time, last_updated_time "  # noqa: S608
        f"FROM model_versions {of_name} AND current_stage <> '{DELETED_STAGE}' ORDER BY version",
        name,
    ):
        yield _version(row, tags)


def _version(row: Row, tags: dict[int, dict[str, str]]) -> SourceVersion:
    version, source, description, stage, run_id, run_link, created, updated = row
    return SourceVersion(
        version=version,
        source=source or "",
        description=description or "",
        stage=stage or "None",
        run_id=run_id or "",
        run_link=run_link or "",
        created_unix_us=unix_us(created),
        updated_unix_us=unix_us(updated),
        tags=tags.get(version, {}),
    )


def _registry_rows(database: SourceDatabase, table: str, columns: str, where: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if database.columns(table):
        for row in database.rows(f"SELECT {columns} FROM {table} {where}"):  # noqa: S608
            found.setdefault(row[0], []).append(row)
    return found
