"""tail, export, delete, retention, gc and status as a person runs them, against a real service."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import runstream
from runstream.export.command import Job, export
from tests.support import preloaded
from tests.support.databases import short_directory
from tests.support.polling import until_now
from tests.support.rest import Rest
from tests.support.serve import COMMAND, ServeProcess, command_environment
from tests.support.terminal import Terminal

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Epochs of a second, so that points are rolled up while a test looks.
QUICK = ["--epoch-seconds", "1", "--max-read-age", "1"]
VALUES = [0.1, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 3.0]


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory / "data", arguments=QUICK) as process:
        yield process


@pytest.fixture
def client(serve: ServeProcess) -> Iterator[runstream.Client]:
    with runstream.Client(serve.grpc_address) as opened:
        yield opened


def start(serve: ServeProcess, **options: Any) -> runstream.Run:
    run = runstream.start_run(address=serve.grpc_address, rank=0, **options)
    assert run.flush(120)  # the commands find it
    return run


def runstream_(serve: ServeProcess, *arguments: object, code: int = 0) -> str:
    """Runs a command to its end; returns its output, or its error message if it should fail."""
    environment = command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address})
    done = preloaded.run([*COMMAND, *map(str, arguments)], environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


class Tailing:
    """A `runstream tail` in a process of its own."""

    def __init__(self, serve: ServeProcess, *arguments: str) -> None:
        self.process = preloaded.Preloaded(
            [*COMMAND, "tail", *arguments],
            command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until_now(lambda: sample(serve, "runstream_tail_streams") >= 1)

    def lines(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline() for _ in range(count)]

    def __enter__(self) -> Tailing:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def sample(serve: ServeProcess, name: str) -> float:
    lines = [line for line in serve.get("/metrics")[1].splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].split()[1]) if lines else 0.0


# -- tail --------------------------------------------------------------------------------------------------------------


def test_tail_prints_points_as_json_and_ctrl_c_ends_it(serve: ServeProcess) -> None:
    with start(serve) as run, Tailing(serve, run.run_id, "--json", "--key", "loss", "--rank", "0") as tailing:
        for step, value in enumerate(VALUES):
            run.log({"loss": value, "acc": 1.0}, step=step, time_unix_us=1_000_000 + step)
        found = [json.loads(line) for line in tailing.lines(len(VALUES))]
        assert [one["step"] for one in found] == list(range(len(VALUES)))
        assert [repr(float(one["value"])) for one in found] == list(map(repr, VALUES))
        assert found[0] == {
            "key": "loss", "rank": 0, "attempt": 0, "step": 0, "time_unix_us": 1_000_000, "value": 0.1
        }  # fmt: skip
        tailing.process.send_signal(signal.SIGINT)
        assert tailing.process.wait(10) == 0
        assert tailing.process.communicate() == ("", "")
    until_now(lambda: sample(serve, "runstream_tail_streams") == 0)


def test_tail_goes_on_after_a_restart_of_the_service_without_gap_or_repeat(data_dir: Path) -> None:
    with ServeProcess(data_dir) as serve, start(serve) as run, Tailing(serve, run.run_id) as tailing:
        for step in range(300):
            run.log({"loss": step / 2}, step=step)
            if step == 150:
                assert run.flush(120)
                serve.restart()
            time.sleep(0.01)
        lines = tailing.lines(300)
        assert [int(line.split("step=")[1].split()[0]) for line in lines] == list(range(300))
        assert lines[7].split(" ", 1)[1] == "loss rank=0 step=7 3.5\n"


def test_tail_into_a_pipe_that_closes_ends_quietly(serve: ServeProcess) -> None:
    with start(serve) as run, Tailing(serve, run.run_id) as tailing:
        run.log({"loss": 1.0})
        tailing.lines(1)
        assert tailing.process.stdout is not None
        tailing.process.stdout.close()
        give_up = time.monotonic() + 20
        while tailing.process.poll() is None and time.monotonic() < give_up:
            run.log({"loss": 1.0})
            time.sleep(0.2)
        assert tailing.process.returncode == 0
        assert tailing.process.stderr is not None
        assert tailing.process.stderr.read() == ""


def test_points_arrive_within_a_second_of_log(serve: ServeProcess, client: runstream.Client) -> None:
    with start(serve) as run:
        assert run.flush(120)
        updates = client.tail(run.run_id)
        assert len(next(updates)) == 0
        delays = []
        for step in range(10):
            run.log({"loss": 1.0}, step=step)
            logged = time.time()
            while not len(next(updates)):
                pass
            delays.append(time.time() - logged)
        updates.close()  # type: ignore[attr-defined]
    assert statistics.median(delays) < 1.0  # a busy machine delays single ones; the benchmark has the percentiles


# -- export ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(serve: ServeProcess) -> runstream.RunInfo:
    """A run with points in segments and in hot batches."""
    with start(serve, experiment="exports", name='a "name", with commas') as run:
        for step in range(20_000):
            run.log({"long": step / 3}, step=step, time_unix_us=1_700_000_000_000_000 + 7 * step)
        for step, value in enumerate(VALUES):
            run.log({"odd/keys 漢": value}, step=-step, time_unix_us=-step)
        assert run.flush(120)
        until_now(lambda: sample(serve, "runstream_rollup_lag_points") == 0)
        run.log({"long": -1.0}, step=5)
        assert run.flush(120)
    with start(serve, experiment="exports", name="other") as other:
        other.log({"long": 1.0}, step=1)
    with runstream.Client(serve.grpc_address) as client:
        return client.get_run(run.run_id)


def expected(client: runstream.Client, run: runstream.RunInfo) -> list[tuple[object, ...]]:
    return [
        ("exports", run.run_id, run.name, key, p.rank, p.attempt, p.step, p.time_unix_us, repr(p.value))
        for key in ("long", "odd/keys 漢")
        for p in client.history(run.run_id, key)
    ]


def microseconds(time_: datetime) -> int:
    return (time_ - EPOCH) // timedelta(microseconds=1)


def test_csv_has_what_history_has(
    serve: ServeProcess, client: runstream.Client, exported: runstream.RunInfo, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "points.csv"
    said = runstream_(serve, "export", exported.run_id, "--format", "csv", "--output", file)
    assert said == f"20,009 points of 1 run in {file}\n"
    with file.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["experiment", "run_id", "run_name", "key", "rank", "attempt", "step", "time", "value"]
    times = [microseconds(datetime.fromisoformat(row[7].replace("Z", "+00:00"))) for row in rows]
    found = [(*row[:4], *map(int, row[4:7]), time_, row[8]) for row, time_ in zip(rows, times, strict=True)]
    assert found == expected(client, exported)
    assert list(tmp_path.rglob("*.part")) == []


def test_parquet_has_what_history_has(
    serve: ServeProcess, client: runstream.Client, exported: runstream.RunInfo, tmp_path: Path
) -> None:
    file = tmp_path / "points.parquet"
    runstream_(serve, "export", exported.run_id, "--format", "parquet", "--output", file)
    table = pyarrow.parquet.read_table(file)
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert table.column("value").null_count == 0
    columns = [table.column(name).to_pylist() for name in table.column_names]
    found = [(*row[:7], microseconds(row[7]), repr(row[8])) for row in zip(*columns, strict=True)]
    assert found == expected(client, exported)


def test_an_experiment_goes_into_one_file_or_one_a_run(
    serve: ServeProcess, exported: runstream.RunInfo, tmp_path: Path
) -> None:
    command = ("export", "--experiment", "exports", "--format", "parquet", "--output")
    runstream_(serve, *command, tmp_path / "all.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "all.parquet").num_rows == 20_010
    said = runstream_(
        serve, "export", "--experiment", "exports", "--format", "parquet", "--output", f"{tmp_path}/each/"
    )
    assert said.startswith("20,010 points of 2 runs in ")
    files = {file.stem: pyarrow.parquet.read_table(file).num_rows for file in (tmp_path / "each").iterdir()}
    assert files.pop(exported.run_id) == 20_009
    assert list(files.values()) == [1]


def test_export_shows_its_progress_on_a_terminal(
    serve: ServeProcess, exported: runstream.RunInfo, tmp_path: Path
) -> None:
    command = [*COMMAND, "export", exported.run_id, "--format", "csv", "--output", str(tmp_path / "x.csv")]
    environment = command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address})
    with Terminal(command, environment, columns=120) as terminal:
        terminal.wait_for(r"2/2 series, 20,009 points")
        assert terminal.wait() == 0


def test_a_failed_export_leaves_no_file(serve: ServeProcess, tmp_path: Path) -> None:
    target = ("--format", "csv", "--output", tmp_path / "x.csv")
    assert "RUN_NOT_FOUND" in runstream_(serve, "export", "0" * 32, *target, code=1)
    assert "EXPERIMENT_NOT_FOUND" in runstream_(serve, "export", "--experiment", "nothing", *target, code=1)
    assert "no run has the id or name 'nonsense'" in runstream_(serve, "export", "nonsense", *target, code=1)
    assert "either RUN or --experiment" in runstream_(serve, "export", *target, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_gone_does_not_keep_the_others_from_being_exported(
    serve: ServeProcess, client: runstream.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        with start(serve, experiment="some gone", name=name) as run:
            run.log({"loss": 1.0}, step=1)
    first, second = client.list_runs("some gone")
    gone = dataclasses.replace(first, run_id="0" * 32)
    monkeypatch.setattr(client, "list_runs", lambda _: [first, gone, second])
    done = export(client, Job(None, "some gone", "csv", tmp_path / "all", into_directory=True))
    assert (done.points, done.runs, list(done.failures)) == (2, 2, [gone.run_id])
    assert {file.name for file in (tmp_path / "all").iterdir()} == {f"{one.run_id}.csv" for one in (first, second)}


# -- delete, retention, gc ---------------------------------------------------------------------------------------------


def test_deleting_a_metric_while_the_job_streams_on(serve: ServeProcess, client: runstream.Client) -> None:
    with start(serve, name="streams on") as run:
        for step in range(400):
            run.log({"loss": 1.0, "acc": 2.0}, step=step)
            if step == 200:
                assert run.flush(120)
                said = runstream_(serve, "delete", run.run_id, "--key", "loss", "--yes")
                assert said == "deleted 1 series of run 'streams on'\n"
            time.sleep(0.002)
        assert run.flush(120)
        assert run.stats().refused == {}
        assert [point.step for point in client.history(run.run_id, "loss")] == list(range(201, 400))
        assert len(client.history(run.run_id, "acc")) == 400


def test_delete_asks_first(serve: ServeProcess, client: runstream.Client) -> None:
    with start(serve, name="kept") as run:
        run.log({"loss": 1.0})
    command = [*COMMAND, "delete", run.run_id, "--key", "loss"]
    for answer, left in (("n", 1), ("y", 0)):
        environment = command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address})
        done = preloaded.run(command, environment, text_input=f"{answer}\n")
        assert "Delete loss of run 'kept' for good?" in done.stderr
        assert done.returncode == left
        assert len(client.history(run.run_id, "loss")) == left


def test_retention_is_set_and_taken_back(serve: ServeProcess, client: runstream.Client) -> None:
    start(serve, experiment="old").finish()
    assert runstream_(serve, "retention", "old", "--days", 7) == "points of experiment 'old' are kept 7 days\n"
    assert client.get_experiment("old").retention_days == 7
    assert runstream_(serve, "retention", "old", "--forever") == "points of experiment 'old' are kept forever\n"
    assert client.get_experiment("old").retention_days is None
    assert "either --days or --forever" in runstream_(serve, "retention", "old", code=2)
    assert "EXPERIMENT_NOT_FOUND" in runstream_(serve, "retention", "nothing", "--days", 1, code=1)


def test_gc_purges_deleted_runs_and_series_of_the_running_service(
    serve: ServeProcess, client: runstream.Client
) -> None:
    with start(serve, experiment="gone") as run:
        for step in range(1_000):
            run.log({"loss": 1.0}, step=step)
    client.delete_run(run.run_id)
    data_dir = ("--data-dir", serve.data_dir)
    assert "runs: 0, " in runstream_(serve, "gc", *data_dir)
    assert client.get_run(run.run_id).deleted

    def collected() -> bool:
        # It may have to wait for roll-up; and what it marked the service may delete before it, once in a minute.
        said = runstream_(serve, "gc", *data_dir, "--purge-after-days", 0)
        assert re.match(r"purged [\d,]+ points, series: [01], runs: [01], ", said), said
        try:
            client.get_run(run.run_id)
        except runstream.NotFound:
            return True
        return False

    until_now(collected)


def test_gc_frees_the_name_of_a_deleted_experiment_and_its_files(serve: ServeProcess, client: runstream.Client) -> None:
    with start(serve, experiment="named") as run:
        run.log({"loss": 1.0}, step=1)
    experiment_id = client.get_experiment("named").experiment_id
    file = serve.data_dir / "artifacts" / str(experiment_id) / run.run_id / "artifacts" / "model.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 100)
    data_dir = ("--data-dir", serve.data_dir)
    with contextlib.closing(Rest(serve.http_url)) as rest:
        rest.post("experiments/delete", {"experiment_id": str(experiment_id)})
        runstream_(serve, "gc", *data_dir, "--purge-after-days", 0)
        # At once, while its run may still wait for roll-up.
        again = rest.post("experiments/create", {"name": "named"})
        assert (again.status, again.body["experiment_id"] == str(experiment_id)) == (200, False)

    def file_is_deleted() -> bool:
        runstream_(serve, "gc", *data_dir, "--purge-after-days", 0)
        runstream_(serve, "gc", *data_dir, "--artifacts", "--delete")  # the service does so within a minute
        return not file.exists()

    until_now(file_is_deleted)


def test_gc_lists_orphaned_files_and_deletes_them_on_request(serve: ServeProcess, client: runstream.Client) -> None:
    with start(serve, experiment="has a file") as run:
        run.log({"loss": 1.0}, step=1)
    root = serve.data_dir / "artifacts" / str(client.get_experiment("has a file").experiment_id)
    kept, orphan = root / run.run_id / "artifacts" / "a", root / ("e" * 32) / "artifacts" / "b"
    for file in (kept, orphan):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * 100)
        os.utime(file, (time.time() - 200_000,) * 2)
    line = f"{root.name}/{'e' * 32}: 100 bytes in 1 file\n"
    said = runstream_(serve, "gc", "--data-dir", serve.data_dir, "--artifacts")
    assert said == line + (
        "1 directory with 100 bytes that no run or model in the database has; --delete deletes them\n"
    )
    assert orphan.exists()
    said = runstream_(serve, "gc", "--data-dir", serve.data_dir, "--artifacts", "--delete")
    assert said == line + "deleted 1 directory with 100 bytes\n"
    assert not orphan.exists()
    assert kept.exists()
    said = runstream_(serve, "gc", "--database", serve.database_url, "--artifacts", "/nowhere", code=2)
    assert said.startswith("runstream: there are no artifacts at '/nowhere'")
    assert "--artifacts PLACE" in said
    assert "so it needs --artifacts" in runstream_(serve, "gc", "--delete", code=2)


def test_gc_without_a_service_says_so(serve: ServeProcess, tmp_path: Path) -> None:
    said = runstream_(serve, "gc", "--data-dir", tmp_path, code=2)
    assert said.startswith(f"runstream: --data-dir (RUNSTREAM_DATA_DIR): no PostgreSQL runs in {tmp_path}")
    assert len(said.splitlines()) == 1
    said = runstream_(serve, "gc", "--database", "postgresql://nobody:secret@127.0.0.1:1/x", code=1)
    assert len(said.splitlines()) == 1
    assert "secret" not in said


def test_trouble_is_one_line(serve: ServeProcess) -> None:
    for arguments in (("tail", "0" * 32), ("delete", "0" * 32, "--key", "k", "--yes")):
        said = runstream_(serve, *arguments, code=1)
        assert "RUN_NOT_FOUND" in said
        assert len(said.splitlines()) == 1
    said = runstream_(serve, "tail", "0" * 32, "--address", "127.0.0.1:1", code=1)
    assert len(said.splitlines()) == 1
    assert sys.executable not in said


# -- status ------------------------------------------------------------------------------------------------------------


def test_status_shows_both_replicas_of_a_database(serve: ServeProcess, data_dir: Path) -> None:
    with (
        ServeProcess(data_dir, arguments=["--database", serve.database_url, *QUICK]) as other,
        start(other, experiment="watched", name="long") as run,
    ):
        status: dict[str, Any] = {"points_last_minute": 0}
        while not status["points_last_minute"]:  # with these settings, the rows of commits are kept for seconds only
            run.log({"loss": 1.0})
            assert run.flush(120)
            status = json.loads(runstream_(serve, "status", "--json", "--data-dir", serve.data_dir))
        assert {replica["pid"] for replica in status["replicas"]} == {serve.pid, other.pid}
        assert status["database"]["schema_version"] == status["database"]["schema_version_known"]
        assert status["points_stored"] >= 1
        assert status["producers"]["runs"] >= 1
        assert status["disk"]["free_bytes"] > 0
        from_url = runstream_(serve, "status", "--json", "--database", serve.database_url)
        assert json.loads(from_url)["disk"] is None
        command = [*COMMAND, "status", "--data-dir", str(serve.data_dir)]
        with Terminal(command, command_environment(), columns=80) as terminal:
            assert terminal.wait() == 0
        assert f":{other.pid} " in terminal.text
        assert max(map(len, terminal.text.splitlines())) <= 80
    until_now(lambda: f'"pid": {other.pid}' not in runstream_(serve, "status", "--json", "--data-dir", serve.data_dir))


def test_status_without_a_database_says_so_in_a_line(serve: ServeProcess, tmp_path: Path) -> None:
    nowhere = runstream_(serve, "status", "--data-dir", tmp_path, code=2)
    assert nowhere.startswith(f"runstream: --data-dir (RUNSTREAM_DATA_DIR): no PostgreSQL runs in {tmp_path}")
    away = runstream_(serve, "status", "--database", "postgresql://me:hunter2@127.0.0.1:1/x", code=1)
    assert away.startswith("runstream: PostgreSQL cannot be reached: Connection refused (asked: 127.0.0.1:1). Check ")
    assert "hunter2" not in away
    assert runstream_(serve, "distribute", "--database", "postgresql://me:hunter2@127.0.0.1:1/x", code=1) == away
