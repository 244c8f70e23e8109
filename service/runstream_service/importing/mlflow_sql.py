"""Reads the database of an MLflow server with SQL. MLflow's own store would read rows one by one through its ORM, and
refuses databases of other versions. Here, tables and columns that a version does not have count as empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from runstream_service.importing.databases import Row, SourceDatabase
from runstream_service.importing.mlflow_models import (
    DEFAULT_WORKSPACE,
    Inputs,
    read_logged_models,
    read_registered_models,
)
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
from runstream_service.importing.source import Source
from runstream_service.importing.source_files import SourceFiles

_PAGE_RUNS = 200
_NEEDED = {
    "experiments": {"experiment_id", "name", "lifecycle_stage"},
    "runs": {"run_uuid", "experiment_id", "status", "start_time", "lifecycle_stage"},
    "metrics": {"run_uuid", "key", "value", "timestamp", "step", "is_nan"},
}
RUN_NAME = "mlflow.runName"


class MlflowDatabase(Source):
    """A source of an import: see Source for its methods."""

    runs_at_once = 1

    def __init__(self, database: SourceDatabase, artifacts: str = "") -> None:
        """`artifacts`: the place to which `mlflow-artifacts:/` refers. Raises ValueError if it is not a database of
        MLflow, or of a version that is too old."""
        self._database = database
        self._files = SourceFiles(database.directory, artifacts)
        for table, needed in _NEEDED.items():
            missing = needed - database.columns(table)
            if missing:
                what = (
                    f"column {sorted(missing)[0]!r} in table {table!r}"
                    if len(missing) < len(needed)
                    else f"table {table!r}"
                )
                raise ValueError(
                    f"{database.name}: there is no {what}, so it is not a database of MLflow 1.2 or later; upgrade an "
                    "older one with `mlflow db upgrade`"
                )

    def describe(self) -> str:
        version = ""
        if "version_num" in self._database.columns("alembic_version"):
            rows = self._database.rows("SELECT version_num FROM alembic_version")
            version = f", schema {rows[0][0]}" if rows else ""
        return f"MLflow's database {self._database.name}{version}"

    def experiments(self) -> list[SourceExperiment]:
        columns = self._database.columns("experiments")
        times = [name if name in columns else "NULL" for name in ("creation_time", "last_update_time")]
        where = f"WHERE workspace = '{DEFAULT_WORKSPACE}'" if "workspace" in columns else ""
        rows = self._database.rows(
            f"SELECT experiment_id, name, lifecycle_stage, {', '.join(times)} FROM experiments {where} "  # noqa: S608
            "ORDER BY experiment_id"
        )
        tags = self._entries("experiment_tags", "experiment_id")
        return [
            SourceExperiment(
                source_id=str(row[0]),
                name=row[1],
                deleted=row[2] == "deleted",
                created_unix_us=unix_us(row[3]),
                updated_unix_us=unix_us(row[4]),
                tags=tags.get(row[0], {}),
            )
            for row in rows
        ]

    def run_count(self) -> int | None:
        return int(self._database.rows("SELECT count(*) FROM runs")[0][0])

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        columns = self._database.columns("runs")
        user, name, uri = (column if column in columns else "''" for column in ("user_id", "name", "artifact_uri"))
        statement = (
            f"SELECT run_uuid, {name}, {user}, status, start_time, end_time, lifecycle_stage, {uri} FROM runs "  # noqa: S608
            f"WHERE experiment_id = ? AND run_uuid > ? ORDER BY run_uuid LIMIT {_PAGE_RUNS}"
        )
        after = ""
        while rows := self._database.rows(statement, int(experiment.source_id), after):
            after = rows[-1][0]
            ids = [row[0] for row in rows]
            params, tags = self._entries("params", "run_uuid", ids), self._entries("tags", "run_uuid", ids)
            inputs = Inputs(self._database, ids)
            for row in rows:
                run = _run(experiment, row, params.get(row[0], {}), tags.get(row[0], {}))
                yield replace(
                    run,
                    datasets=inputs.datasets.get(run.run_id, ()),
                    models_in=inputs.models_in.get(run.run_id, ()),
                    models_out=inputs.models_out.get(run.run_id, ()),
                )

    def points(self, runs: Sequence[SourceRun]) -> Iterator[Points]:
        statement = (
            "SELECT key, timestamp, step, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step, timestamp"
        )
        for run in runs:
            for rows in self._database.pieces(statement, run.run_id):
                yield from _points(run.run_id, rows)

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        return read_logged_models(self._database, experiment)

    def registered_models(self) -> Iterator[SourceRegisteredModel]:
        return read_registered_models(self._database)

    def files(self, owner: FileOwner) -> Iterator[SourceFile]:
        return self._files.list(owner)

    def open_file(self, owner: FileOwner, path: str) -> AbstractContextManager[Iterator[bytes]]:
        return self._files.open(owner, path)

    def close(self) -> None:
        self._database.close()

    def _entries(self, table: str, owner: str, owners: Sequence[Any] | None = None) -> dict[Any, dict[str, str]]:
        """Params or tags by the id of the run, experiment or model that has them."""
        if not {owner, "key", "value"} <= self._database.columns(table):
            return {}
        where = "" if owners is None else f"WHERE {owner} IN ({', '.join('?' * len(owners))})"
        found: dict[Any, dict[str, str]] = {}
        for row in self._database.rows(f"SELECT {owner}, key, value FROM {table} {where}", *(owners or ())):  # noqa: S608
            found.setdefault(row[0], {})[row[1]] = row[2] or ""
        return found


def _run(experiment: SourceExperiment, row: Row, params: dict[str, str], tags: dict[str, str]) -> SourceRun:
    run_id, name, user, status, start, end, lifecycle, uri = row
    return SourceRun(
        run_id=run_id,
        experiment_id=experiment.source_id,
        name=tags.get(RUN_NAME) or name or "",
        user=user or "",
        status=status or "FINISHED",
        start_unix_us=unix_us(start),
        end_unix_us=unix_us(end),
        deleted=lifecycle == "deleted",
        artifact_uri=uri or "",
        params=params,
        tags={key: value for key, value in tags.items() if key != RUN_NAME},
    )


def _points(run_id: str, rows: Sequence[Row]) -> Iterator[Points]:
    """The points in rows that are ordered by key, as columns."""
    keys, *columns = zip(*rows, strict=True)
    times, steps = (np.array(column, np.int64) for column in columns[:2])
    values = finite_or_not(np.array(columns[2], np.float64), np.array(columns[3], np.bool_))
    begin = 0
    for key, same in groupby(keys):
        end = begin + sum(1 for _ in same)
        yield Points(run_id, key, steps[begin:end], times[begin:end] * 1_000, values[begin:end])
        begin = end
