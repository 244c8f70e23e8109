"""`runstream import trackio` of databases of its versions, with and without ids of runs, and of other files."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import runstream
from tests.imports.support import run_import
from tests.support.serve import ServeProcess

RUN = "d672007938044ad59ca618cb395f9db2"


def write(path: Path, *, with_ids: bool) -> None:
    """Tables as Trackio 0.43 makes them, or as the first versions did."""
    key, value = ("run_id TEXT NOT NULL, ", f"'{RUN}', ") if with_ids else ("", "")
    with sqlite3.connect(path) as database:
        database.execute(
            f"CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, {key}timestamp TEXT NOT NULL, "
            "run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL)"
        )
        for step in range(30):
            logged = {"loss": "NaN" if step == 3 else 1 / (step + 1), "eval": {"acc": step / 30}, "note": "text"}
            time = f"2026-11-29T06:32:{step:02}.267373" + ("+00:00" if with_ids else "")
            database.execute(
                f"INSERT INTO metrics VALUES (NULL, {value}?, 'mlp', ?, ?)", (time, step, json.dumps(logged).encode())
            )
        if with_ids:
            database.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_id TEXT, run_name TEXT, config TEXT)")
            config = {"lr": 0.1, "opt": {"name": "adam"}, "_Username": "ada", "_Created": "2026-11-29T06:32:00+00:00"}
            database.execute("INSERT INTO configs VALUES (NULL, ?, 'mlp', ?)", (RUN, json.dumps(config)))
            database.execute(
                "CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, run_id TEXT, timestamp TEXT, run_name TEXT, "
                "metrics TEXT)"
            )
            database.execute(
                "INSERT INTO system_metrics VALUES (NULL, ?, '2026-11-29T06:32:01+00:00', 'mlp', ?)",
                (RUN, json.dumps({"gpu/0/power": 80})),
            )


def test_a_project_with_ids_keeps_them(tmp_path: Path, service: ServeProcess, client: runstream.Client) -> None:
    write(tmp_path / "tracked.db", with_ids=True)
    done = run_import(service, str(tmp_path), tracker="trackio")
    assert (done.code, done.counts("runs"), done.counts("points")) == (0, (1, 0), (61, 0)), done.err
    run = client.get_run(RUN)
    assert (run.experiment, run.name, run.user, run.status) == ("tracked", "mlp", "ada", "FINISHED")
    assert run.params == {"lr": "0.1", "opt.name": "adam"}
    assert run.start_time_unix_us == 1_795_933_920_000_000
    assert [str(point.value) for point in client.history(RUN, "loss")][3] == "nan"
    assert [point.step for point in client.history(RUN, "eval.acc")] == list(range(30))
    assert len(client.history(RUN, "system/gpu/0/power")) == 1
    assert run_import(service, str(tmp_path), tracker="trackio").counts("points")[0] == 0


def test_runs_without_ids_have_the_same_one_each_time(
    tmp_path: Path, service: ServeProcess, client: runstream.Client
) -> None:
    write(tmp_path / "early.db", with_ids=False)
    assert run_import(service, str(tmp_path / "early.db"), tracker="trackio").counts("points") == (60, 0)
    assert run_import(service, str(tmp_path / "early.db"), tracker="trackio").counts("points")[0] == 0
    (run,) = client.list_runs("early")
    assert client.history(run.run_id, "loss")[0].time_unix_us == 1_795_933_920_267_373


@pytest.mark.parametrize("content", [b"no database at all", b""])
def test_a_file_that_is_no_database_of_trackio_is_named_and_the_others_come(
    tmp_path: Path, service: ServeProcess, content: bytes
) -> None:
    write(tmp_path / "beside.db", with_ids=False)
    (tmp_path / "other.db").write_bytes(content)
    done = run_import(service, str(tmp_path), tracker="trackio")
    assert done.code == 1
    assert f"{tmp_path / 'other.db'}: it is no readable database of Trackio" in done.err
