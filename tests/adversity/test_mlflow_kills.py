"""kill -9 of the service while MLflow's client logs from several processes: each point is stored exactly once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import runstream
from tests.support.polling import until_now
from tests.support.preloaded import Preloaded
from tests.support.rest import Rest
from tests.support.serve import ServeProcess, command_environment

PROCESSES, KEYS, KILLS = 4, 5, 2
_SCRIPT = Path(__file__).with_name("mlflow_client.py")
# Attempts at random, not at times that become rarer and rarer: the test would be mostly waiting.
_CLIENT = {
    # Half a minute in all: a service takes long to start on a busy machine.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "60",
    "_MLFLOW_HTTP_REQUEST_MAX_RETRIES_LIMIT": "60",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "1.0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def test_kill_9_while_the_mlflow_client_logs_loses_and_doubles_nothing(data_dir: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", str(time.time_ns())))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    stop = tmp_path / "stop"
    with ServeProcess(data_dir) as serve:
        rest = Rest(serve.http_url)
        run_id = rest.post("runs/create", {"experiment_id": "0"}).body["run"]["info"]["run_id"]
        rest.close()
        arguments = [serve.http_url, run_id, str(PROCESSES), str(KEYS), str(stop)]
        with Preloaded(
            [sys.executable, str(_SCRIPT), *arguments],
            {**command_environment(), **_CLIENT},
            modules=("mlflow",),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as logging:
            try:
                assert logging.stdout is not None
                assert logging.stdout.readline() == "started\n"
                for _ in range(KILLS):
                    _wait_for_steps(tmp_path, 5)
                    time.sleep(chance.uniform(0.0, 0.1))
                    serve.kill()
                    serve.start()
                    serve.wait_until("/readyz", 200)
                _wait_for_steps(tmp_path, 5)
            finally:
                stop.touch()
            _, said = logging.communicate(timeout=250)
        assert logging.returncode == 0, said
        _assert_exactly_once(serve, run_id, [_logged(tmp_path, number) for number in range(PROCESSES)])


def _logged(directory: Path, number: int) -> int:
    """How many steps a process has logged so far."""
    file = directory / f"steps{number}"
    text = file.read_text() if file.exists() else ""
    return int(text) if text.endswith("\n") else 0  # it is being written


def _wait_for_steps(directory: Path, count: int) -> None:
    """Waits until each process has logged `count` more steps."""
    before = [_logged(directory, number) for number in range(PROCESSES)]
    until_now(lambda: all(_logged(directory, number) >= before[number] + count for number in range(PROCESSES)))


def _assert_exactly_once(serve: ServeProcess, run_id: str, steps: list[int]) -> None:
    """Over gRPC: MLflow's routes would show points that are there twice once."""
    with runstream.Client(serve.grpc_address) as client:
        for number, count in enumerate(steps):
            for key, factor in [("alone", 0.25), *((f"batch{key}", 0.5) for key in range(KEYS))]:
                points = client.history(run_id, f"worker{number}/{key}", rank=-1)
                assert [point.step for point in points] == list(range(count))
                assert [point.value for point in points] == [step * factor for step in range(count)]
