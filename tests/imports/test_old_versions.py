"""Databases and files that MLflow 1.30, 2.9 and 2.22 have written, as old/write.py made them, are read as they are."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import mlflow
import pytest

import runstream
from tests.imports.support import run_import
from tests.support.databases import fresh_database
from tests.support.serve import ServeProcess

_HERE = Path(__file__).parent / "old"
_VERSIONS = sorted(path.stem.removeprefix("mlflow-") for path in _HERE.glob("*.json"))
_POINTS = 23
_TYPES = {"BIGINT": "bigint", "INTEGER": "bigint", "BOOLEAN": "boolean", "FLOAT": "double precision"}


@pytest.fixture
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What the version has left: database/mlflow.db and files/mlruns."""
    found = json.loads((_HERE / f"mlflow-{request.param}.json").read_text())
    for name, content in found["files"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("<DIRECTORY>", str(tmp_path)))
    with sqlite3.connect(tmp_path / "database" / "mlflow.db") as connection:
        connection.executescript(found["dump"].replace("<DIRECTORY>", str(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("written", _VERSIONS, indirect=True)
@pytest.mark.parametrize("kind", ["database", "files"])
def test_an_old_version_is_read(
    kind: str, written: Path, request: pytest.FixtureRequest, service: ServeProcess, client: runstream.Client
) -> None:
    version = request.node.callspec.params["written"]
    place = f"sqlite:///{written}/database/mlflow.db" if kind == "database" else f"{written}/files/mlruns"
    done = run_import(service, place, "--deleted", "--verify")
    assert (done.counts("points"), done.counts("files")) == ((_POINTS, 0), (1, 0)), done.err
    (run_id,) = _run_ids(written, kind, deleted=False)
    run = client.get_run(run_id)
    assert (run.name, run.status, run.params, run.tags["x/y"]) == ("first", "FAILED", {"lr": "0.1", "a/b": "c"}, "zä")
    assert [point.value for point in client.history(run_id, "loss/a b")] == [step / 3 for step in range(20)]
    odd = [point.value for point in client.history(run_id, "odd")]
    assert (sum(map(math.isnan, odd)), sum(map(math.isinf, odd))) == (1, 2)
    (deleted,) = _run_ids(written, kind, deleted=True)
    assert client.get_run(deleted).deleted
    # Otherwise the registry is where an earlier test of this process has pointed MLflow to.
    theirs = mlflow.MlflowClient(service.http_url, registry_uri=service.http_url)
    datasets = theirs.get_run(run_id).inputs.dataset_inputs
    assert [one.dataset.name for one in datasets] == ([] if version.startswith("1.") else ["digits"])
    if not (version.startswith("1.") and kind == "files"):
        assert theirs.get_model_version("old model", "1").current_stage == "Production"
        # The first of these tests has brought it; for the others, a version of another run has this number.
        assert done.code == 0 or "version 1 of the registered model 'old model': its source is" in done.err


def _run_ids(written: Path, kind: str, *, deleted: bool) -> list[str]:
    with sqlite3.connect(written / "database" / "mlflow.db") as connection:
        rows = connection.execute("SELECT run_uuid, lifecycle_stage FROM runs").fetchall()
    if kind == "database":
        return [run_id for run_id, stage in rows if (stage == "deleted") == deleted]
    metas = (written / "files" / "mlruns").glob("*/*/meta.yaml")
    runs = [path for path in metas if "run_uuid" in path.read_text()]
    return [path.parent.name for path in runs if ("stage: deleted" in path.read_text()) == deleted]


@pytest.mark.parametrize("written", ["2.22.1"], indirect=True)
async def test_a_database_on_postgresql_is_read_as_well(
    written: Path, service: ServeProcess, client: runstream.Client, postgres: Any
) -> None:
    async with fresh_database(postgres) as url:
        await _copy(written / "database" / "mlflow.db", url)
        done = await asyncio.to_thread(run_import, service, url, "--no-files")
    assert sum(done.counts("runs")) == 1, done.err
    (run_id,) = _run_ids(written, "database", deleted=False)
    assert len(client.history(run_id, "loss/a b")) == 20
    assert sum(math.isnan(point.value) for point in client.history(run_id, "odd")) == 1


async def _copy(database: Path, url: str) -> None:
    """Into tables with the same names, columns and types."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        with sqlite3.connect(database) as source:
            for (table,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                columns = source.execute(f"PRAGMA table_info({table})").fetchall()
                kinds = [_TYPES.get(column[2].partition("(")[0], "text") for column in columns]
                named = ", ".join(f'"{column[1]}" {kind}' for column, kind in zip(columns, kinds, strict=True))
                await connection.execute(f"CREATE TABLE {table} ({named})")
                rows = [
                    tuple(bool(one) if kind == "boolean" else one for one, kind in zip(row, kinds, strict=True))
                    for row in source.execute(f"SELECT * FROM {table}")
                ]
                await connection.copy_records_to_table(table, records=rows)
    finally:
        await connection.close()
