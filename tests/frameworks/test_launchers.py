"""Which runs real launchers make: torchrun with a constant id and with restarts, torch.multiprocessing.spawn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import runstream
from tests.support.serve import ServeProcess

ROOT = Path(__file__).parents[2]
# Each test starts up to six processes that import torch, which takes a small machine half a minute each time.
pytestmark = pytest.mark.timeout(300)

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2")


def launch(serve: ServeProcess, *command: str, **environment: str) -> list[tuple[str, int, int, str]]:
    """Run a launcher to its end; what each rank said: run id, rank, attempt, and the run's status meanwhile."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "RUNSTREAM"))}
    env |= {"RUNSTREAM_ADDRESS": serve.grpc_address, "OMP_NUM_THREADS": "1", **environment}
    ended = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stderr
    assert "RUNSTREAM_RUN_ID" not in ended.stderr
    said = [line.split() for line in ended.stdout.splitlines() if line.count(" ") == 3]
    return [(run_id, int(rank), int(attempt), status) for run_id, rank, attempt, status in said]


def free_port() -> str:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((*TORCHRUN, "--standalone", "-m", "tests.frameworks.launched"), id="torchrun --standalone"),
        pytest.param(
            (*TORCHRUN, "--rdzv-id=100", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0",
             "-m", "tests.frameworks.launched"),
            id="torchrun with a constant id",
        ),
        pytest.param(("-m", "tests.frameworks.launched", "spawn"), id="mp.spawn"),
    ],
)  # fmt: skip
def test_each_launch_is_one_run_of_all_its_ranks(
    serve: ServeProcess, client: runstream.Client, command: tuple[str, ...]
) -> None:
    port = free_port()
    runs = []
    for _ in range(2):
        said = launch(serve, *command, PORT=port)
        assert sorted(rank for _, rank, _, _ in said) == [0, 1]
        (run_id,) = {run_id for run_id, _, _, _ in said}
        history = client.history(run_id, "loss")
        assert [(one.rank, list(one.steps)) for one in history.series] == [(rank, list(range(10))) for rank in range(2)]
        assert client.get_run(run_id).status == "FINISHED"
        runs.append(run_id)
    assert runs[0] != runs[1]


def test_a_restart_by_torchrun_joins_its_run_which_is_running_again(
    serve: ServeProcess, client: runstream.Client
) -> None:
    program = ("-m", "tests.frameworks.launched", "restart")
    said = launch(serve, *TORCHRUN, "--max-restarts=1", "--standalone", *program)
    (run_id,) = {run_id for run_id, _, _, _ in said}
    assert [(attempt, status) for _, rank, attempt, status in said if rank == 0] == [(0, "RUNNING"), (1, "RUNNING")]
    assert client.get_run(run_id).status == "FINISHED"
    steps = {(one.rank, one.attempt): list(one.steps) for one in client.history(run_id, "loss").series}
    assert [steps[0, 0], steps[0, 1], steps[1, 1]] == [[0], [1], [1]]
