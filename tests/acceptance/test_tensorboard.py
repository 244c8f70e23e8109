"""`runstream tensorboard` as a person runs it, with event files that grow and a real service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import runstream
from tests.support import preloaded
from tests.support.event_files import (
    EventFile,
    event,
    hparams_value,
    session_start,
    simple_value,
    summary,
    tensor_value,
    text_value,
)
from tests.support.polling import until_now
from tests.support.serve import COMMAND, ServeProcess, command_environment

Import = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    """Its name is the experiment; no two tests have the same."""
    path = tmp_path / f"logs-{tmp_path.name}"
    path.mkdir()
    return path


@pytest.fixture
def bring(serve: ServeProcess, logdir: Path) -> Import:
    """Imports once; returns what the command printed."""

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address})
        done = preloaded.run([*COMMAND, "tensorboard", str(logdir), "--once", *arguments], environment)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def follow(serve: ServeProcess, logdir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Follows until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = preloaded.Preloaded(
            [*COMMAND, "tensorboard", str(logdir), *arguments],
            command_environment({"RUNSTREAM_ADDRESS": serve.grpc_address}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def runs(client: runstream.Client, logdir: Path) -> dict[str, runstream.RunInfo]:
    """Those of the test, by name."""
    try:
        return {run.name: client.get_run(run.run_id) for run in client.list_runs(logdir.name)}
    except runstream.NotFound:
        return {}


def points(client: runstream.Client, run: runstream.RunInfo, key: str) -> list[tuple[int, int, int, float]]:
    """Rank, attempt, step and value."""
    return [(one.rank, one.attempt, one.step, one.value) for one in client.history(run.run_id, key)]


def steps(client: runstream.Client, logdir: Path, key: str = "loss") -> list[int]:
    """The steps of the only run."""
    found = list(runs(client, logdir).values())
    return [one[2] for one in points(client, found[0], key)] if found else []


def test_a_directory_is_imported_once_however_often_it_is_imported(client, logdir, bring):
    with EventFile(logdir / "mlp") as file:
        for step in range(3_000):
            file.scalars(step, {"loss": 1 / (step + 1), "throughput(tps)": step})
        file.write(event(1e9, 3_000, summary(tensor_value("val/loss", 0.5), simple_value("mfu(%)", 40.5))))
        file.write(event(1e9, 0, summary(hparams_value({"lr": 0.5, "layers": 3, "name": "x"}))))
        file.write(event(1e9, 0, summary(text_value("notes/text_summary", "all went well"))))
    with EventFile(logdir / "ranks" / "rank_1") as file:
        file.scalars(7, {"loss": 2.0})
    with EventFile(logdir / "ranks" / "rank_0") as file:
        file.scalars(7, {"loss": 1.0})
    assert "6,004 points of 3 files in 2 runs stored" in bring().stdout
    found = runs(client, logdir)
    assert found.keys() == {"mlp", "ranks"}
    assert [one[2] for one in points(client, found["mlp"], "throughput(tps)")] == list(range(3_000))
    assert points(client, found["mlp"], "val/loss") == [(0, 0, 3_000, 0.5)]
    assert points(client, found["mlp"], "mfu(%)") == [(0, 0, 3_000, 40.5)]
    assert points(client, found["ranks"], "loss") == [(0, 0, 7, 1.0), (1, 0, 7, 2.0)]
    assert found["mlp"].params == {"lr": "0.5", "layers": "3", "name": "x"}
    assert found["mlp"].tags["notes"] == "all went well"
    assert found["mlp"].tags["tensorboard.directory"] == "mlp"
    assert {run.status for run in found.values()} == {"FINISHED"}
    assert found["mlp"].start_time_unix_us == 1_700_000_001_000_000
    assert found["mlp"].end_time_unix_us == 1_700_003_000_000_000
    assert "0 points of 3 files in 2 runs stored" in bring().stdout
    assert len(points(client, found["mlp"], "loss")) == 3_000


def test_mlflow_shows_keys_that_it_refuses_to_log(client, serve, logdir, bring):
    with EventFile(logdir) as file:
        file.scalars(1, {"throughput(tps)": 1.0, "mfu(%)": 40.5})
        file.scalars(2, {"throughput(tps)": 2.0})
    bring()
    (run,) = runs(client, logdir).values()
    mlflow = MlflowClient(serve.http_url)
    assert mlflow.get_run(run.run_id).data.metrics == {"throughput(tps)": 2.0, "mfu(%)": 40.5}
    assert [one.value for one in mlflow.get_metric_history(run.run_id, "throughput(tps)")] == [1.0, 2.0]
    found = mlflow.search_runs([str(run.experiment_id)], "metrics.`throughput(tps)` > 1", order_by=['metrics."mfu(%)"'])
    assert [one.info.run_id for one in found] == [run.run_id]
    with pytest.raises(MlflowException):
        mlflow.log_metric(run.run_id, "throughput(tps)", 3.0)


def test_what_is_written_is_there_within_two_seconds_also_in_new_directories(client, logdir, follow):
    follow()
    delays = []
    for number in range(3):
        name, file = f"run{number}", EventFile(logdir / f"run{number}")
        file.scalars(0, {"loss": 1.0})
        _wait_for_points(client, logdir, name, 1)
        for step in range(1, 4):
            written_s = time.monotonic()
            file.scalars(step, {"loss": 1.0})
            _wait_for_points(client, logdir, name, step + 1)
            delays.append(time.monotonic() - written_s)
    assert sorted(delays)[len(delays) // 2] < 2.0


def _wait_for_points(client: runstream.Client, logdir: Path, name: str, count: int) -> None:
    until_now(lambda: (run := runs(client, logdir).get(name)) and len(points(client, run, "loss")) == count)


def test_a_killed_follower_goes_on_where_it_was(client, logdir, follow):
    with EventFile(logdir) as file:
        file.scalars(0, {"loss": 1.0})
        first = follow()
        until_now(lambda: steps(client, logdir) == [0])
        first.kill()
        first.wait()
        file.scalars(1, {"loss": 2.0})
        follow()
        file.scalars(2, {"loss": 3.0})
        until_now(lambda: steps(client, logdir) == [0, 1, 2])


def test_ctrl_c_ends_following_with_a_summary(client, logdir, follow):
    with EventFile(logdir) as file:
        file.scalars(0, {"loss": 1.0})
    process = follow()
    until_now(lambda: steps(client, logdir) == [0])
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "1 point of 1 file in 1 run stored" in output


def test_a_second_follower_of_the_same_directory_is_refused(client, logdir, follow):
    with EventFile(logdir) as file:
        file.scalars(0, {"loss": 1.0})
    follow()
    until_now(lambda: steps(client, logdir) == [0])
    second = follow()
    output, _ = second.communicate(timeout=30)
    assert second.returncode != 0
    assert "another process already follows this LOGDIR" in output


def test_half_a_record_is_waited_for(client, logdir, bring):
    file = EventFile(logdir)
    file.scalars(0, {"loss": 1.0})
    with EventFile(logdir.parent / "whole") as whole:
        start = whole.path.stat().st_size
        whole.scalars(1, {"loss": 2.0})
    record = whole.path.read_bytes()[start:]
    file.write_bytes(record[:20])
    bring()
    assert steps(client, logdir) == [0]
    file.write_bytes(record[20:])
    bring()
    assert steps(client, logdir) == [0, 1]


def test_damage_is_named_and_everything_else_is_imported(client, logdir, bring):
    with EventFile(logdir / "good") as good:
        good.scalars(0, {"loss": 1.0})
    with EventFile(logdir / "bad") as bad:
        bad.scalars(0, {"loss": 1.0})
        start = bad.path.stat().st_size
        bad.scalars(1, {"loss": 2.0})
        bad.scalars(2, {"loss": 3.0})
    data = bytearray(bad.path.read_bytes())
    data[start + 20] ^= 1
    bad.path.write_bytes(data)
    complaint = bring(code=1).stderr
    assert f"{bad.path}: damaged from {start} to " in complaint
    found = runs(client, logdir)
    assert [one[2] for one in points(client, found["bad"], "loss")] == [0, 2]
    assert [one[2] for one in points(client, found["good"], "loss")] == [0]
    assert "damaged from" in bring(code=1).stderr


def test_a_restarted_trainer_is_the_next_attempt_and_one_that_goes_on_is_not(client, logdir, bring):
    for number, numbers in ((1, range(10)), (2, range(10, 20)), (3, range(15, 25))):
        with EventFile(logdir, number) as file:
            for step in numbers:
                file.scalars(step, {"loss": float(number)})
    with EventFile(logdir, 4) as file:
        file.write(event(file.time_s, 20, session_start()))
        file.scalars(30, {"other": 1.0})
    bring()
    (run,) = runs(client, logdir).values()
    assert {(attempt, value) for _, attempt, _, value in points(client, run, "loss")} == {(0, 1.0), (0, 2.0), (1, 3.0)}
    assert points(client, run, "other") == [(0, 2, 30, 1.0)]


def test_a_new_file_after_half_a_record_is_followed(client, logdir, follow):
    killed = EventFile(logdir, 1)
    killed.scalars(0, {"loss": 1.0})
    killed.write_bytes(b"\x18")
    follow()
    until_now(lambda: steps(client, logdir) == [0])
    with EventFile(logdir, 2) as file:
        file.scalars(1, {"loss": 1.0})
    until_now(lambda: steps(client, logdir) == [0, 1])


def test_a_renamed_directory_goes_on_in_the_same_run(client, logdir, follow):
    file = EventFile(logdir / "before")
    file.scalars(0, {"loss": 1.0})
    process = follow()
    until_now(lambda: steps(client, logdir) == [0])
    os.rename(logdir / "before", logdir / "after")
    file.scalars(1, {"loss": 2.0})
    until_now(lambda: steps(client, logdir) == [0, 1])
    process.kill()
    os.rename(logdir / "after", logdir / "later")
    file.scalars(2, {"loss": 3.0})
    process.wait()
    follow()
    until_now(lambda: steps(client, logdir) == [0, 1, 2])
    assert runs(client, logdir).keys() == {"before"}


def test_another_file_of_the_same_name_is_read_from_its_beginning(client, logdir, bring):
    with EventFile(logdir) as file:
        for step in range(5):
            file.scalars(step, {"loss": 1.0})
    bring()
    file.path.unlink()
    with EventFile(logdir, time_s=1.8e9) as file:
        file.scalars(9, {"loss": 2.0})
    bring()
    bring()
    assert steps(client, logdir) == [0, 1, 2, 3, 4, 9]


def test_without_its_state_nothing_is_stored_twice(client, logdir, bring, journal_directory):
    with EventFile(logdir) as file:
        file.scalars(0, {"loss": 1.0})
    bring()
    shutil.rmtree(journal_directory)
    assert "is not imported" in bring(code=1).stderr
    assert steps(client, logdir) == [0]


def test_a_silent_run_is_ended_and_what_comes_later_is_stored(client, logdir, follow):
    file = EventFile(logdir)
    file.scalars(0, {"loss": 1.0})
    follow("--end-after", "1s")
    until_now(lambda: [run.status for run in runs(client, logdir).values()] == ["FINISHED"])
    file.scalars(1, {"loss": 2.0})
    until_now(lambda: steps(client, logdir) == [0, 1])


def test_while_the_service_is_away_nothing_is_lost(client, serve, logdir, follow):
    file = EventFile(logdir)
    file.scalars(0, {"loss": 1.0})
    follow()
    until_now(lambda: steps(client, logdir) == [0])
    serve.kill()
    for step in range(1, 50):
        file.scalars(step, {"loss": 1.0})
    serve.start()
    until_now(lambda: steps(client, logdir) == list(range(50)))


def test_a_dry_run_shows_runs_ranks_and_keys_and_needs_no_service(logdir):
    with EventFile(logdir / "mlp" / "rank_1") as file:
        file.scalars(0, {"loss": 1.0, "mfu(%)": 2.0})
    done = subprocess.run(
        [*COMMAND, "tensorboard", str(logdir), "--dry-run"], env=command_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "mlp      1       1        2        0   loss, mfu(%)" in done.stdout


def test_a_service_that_is_away_fails_an_import_in_one_line(logdir):
    with EventFile(logdir) as file:
        file.scalars(0, {"loss": 1.0})
    done = subprocess.run(
        [*COMMAND, "tensorboard", str(logdir), "--once", "--address", "127.0.0.1:1"],
        env=command_environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
