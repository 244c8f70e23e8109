"""An import is killed repeatedly: afterwards, everything is stored once."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from pathlib import Path

import mlflow

import runstream
from tests.imports.support import environment, run_import
from tests.support.preloaded import Preloaded
from tests.support.serve import COMMAND, ServeProcess

RUNS, KEYS, STEPS = 8, 4, 3_000  # points of a run are two batches or more
KILLS = int(os.environ.get("IMPORT_KILLS", "4"))
_INSERT = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"


def test_nothing_is_stored_twice_and_nothing_is_missing_after_kills(
    service: ServeProcess, client: runstream.Client, database: Path
) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"KILL_SEED={seed}")
    chosen, place = random.Random(seed), f"sqlite:///{database}"
    run_ids = _fill(place, database)
    killed = 0
    for _ in range(KILLS):
        before, more = _committed(service), chosen.randrange(1, RUNS * KEYS * STEPS // KILLS)
        process = Preloaded(
            [*COMMAND, "import", "mlflow", place, "--no-files", "--parallel", "3"],
            environment(service),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # It writes for a second or two after it has begun; most of these moments are in between.
        while process.poll() is None and _committed(service) < before + more:
            time.sleep(0.02)
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed, "it was always faster"
    done = run_import(service, place, "--no-files", "--verify")
    assert done.code == 0, done.err
    assert sum(done.counts("runs")) == RUNS
    assert "everything in the source is here, and equal" in done.out
    assert _stored(client, run_ids) == RUNS * KEYS * STEPS
    assert {run.status for run in client.list_runs("killed")} == {"FINISHED"}


def test_two_imports_at_once_store_everything_once(
    service: ServeProcess, client: runstream.Client, database: Path
) -> None:
    place = f"sqlite:///{database}"
    run_ids = _fill(place, database, "at once", runs=4)
    command = [*COMMAND, "import", "mlflow", place, "--no-files", "--experiment", "at once"]
    both = [
        Preloaded(command, environment(service), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        _, said = process.communicate(timeout=120)
        # The one that came second to a run has it; the other one says so.
        lines = [line for line in said.splitlines() if line.startswith("runstream: ")]
        assert process.returncode == bool(lines), said
        assert all("another import is writing to it" in line for line in lines), said
    done = run_import(service, place, "--no-files", "--verify", "--experiment", "at once")
    assert done.code == 0, done.err
    assert "everything in the source is here, and equal" in done.out
    assert _stored(client, run_ids) == len(run_ids) * KEYS * STEPS


def _fill(place: str, database: Path, name: str = "killed", runs: int = RUNS) -> list[str]:
    theirs = mlflow.MlflowClient(place, place)
    experiment = theirs.create_experiment(name)
    run_ids = [theirs.create_run(experiment).info.run_id for _ in range(runs)]
    with sqlite3.connect(database) as connection:
        for run_id in run_ids:
            for key in range(KEYS):
                rows = [(f"m{key}", step / 7, 1_700_000_000_000 + step, run_id, step, 0) for step in range(STEPS)]
                connection.executemany(_INSERT, rows)
    for run_id in run_ids:
        theirs.set_terminated(run_id)
    return run_ids


def _committed(service: ServeProcess) -> float:
    """Points since the service was started. To read them all, again and again, would take most of a processor."""
    return service.metric("runstream_points_committed_total")


def _stored(client: runstream.Client, run_ids: list[str]) -> int:
    return sum(_points(client, run_id) for run_id in run_ids)


def _points(client: runstream.Client, run_id: str) -> int:
    try:
        return sum(len(piece) for piece in client.stream_history(run_id))
    except runstream.NotFound:
        return 0
