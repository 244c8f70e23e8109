"""Two launches are two runs, one launch is one run: real processes with the variables of real launchers."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess

ROOT = Path(__file__).parents[2]

TORCHRUN = {"TORCHELASTIC_RUN_ID": "100", "TORCHELASTIC_RESTART_COUNT": "0", "RANK_VARIABLE": "RANK"}
ONE_NODE = {**TORCHRUN, "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}
TWO_NODES = {**TORCHRUN, "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}
IN_A_STEP = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
LIGHTNING = {
    "NODE_RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "12399",
    "RANK_VARIABLE": "LOCAL_RANK",
}  # fmt: skip
PYTORCHJOB = {"WORLD_SIZE": "3", "MASTER_ADDR": "mnist-master-0", "MASTER_PORT": "23456", "RANK_VARIABLE": "RANK"}


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    """One service for this module."""
    with short_directory() as directory, ServeProcess(directory / "data") as process:
        yield process


@pytest.fixture
def client(serve: ServeProcess) -> runstream.Client:
    """Reads back."""
    return runstream.Client(serve.grpc_address)


def start(serve: ServeProcess, name: str, number: int, **environment: str) -> subprocess.Popen[str]:
    """A program of tests/unit/client/processes.py, without the variables of whoever runs the tests."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "RUNSTREAM", "PMI"))}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.client.processes", name, str(number)],
        cwd=ROOT,
        env={**bare, "RUNSTREAM_ADDRESS": serve.grpc_address, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(serve: ServeProcess, name: str, number: int, **environment: str) -> dict[int, str]:
    """Runs a launcher to its end; returns the run id of each rank."""
    output, errors = start(serve, name, number, **environment).communicate(timeout=90)
    said = [line.split() for line in output.splitlines()]
    assert len(said) == max(1, number if name != "rank" else 1), errors
    assert "RUNSTREAM_RUN_ID" not in errors
    return {int(rank): run_id for run_id, rank, _ in said}


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        pytest.param("launches", ONE_NODE, id="torchrun with a constant id"),
        pytest.param("launches", TWO_NODES, id="torchrun with a constant id on two nodes"),
        pytest.param("launches", {**IN_A_STEP, **ONE_NODE}, id="torchrun in an interactive step"),
        pytest.param("launches", LIGHTNING, id="Lightning"),
        pytest.param("launches", {**LIGHTNING, "RANK_VARIABLE": "RANK"}, id="DeepSpeed"),
        pytest.param("launches", PYTORCHJOB, id="PyTorchJob"),
        pytest.param("spawns_ranks", {}, id="mp.spawn"),
    ],
)
def test_all_ranks_of_a_launch_share_a_run_that_the_next_launch_does_not(
    serve: ServeProcess, client: runstream.Client, name: str, environment: dict[str, str]
) -> None:
    launched = [launch(serve, name, 3, **environment) for _ in range(3)]
    for ranks in launched:
        assert sorted(ranks) == [0, 1, 2]
        assert len(set(ranks.values())) == 1
        history = client.history(ranks[0], "loss")
        assert [(one.rank, list(one.steps)) for one in history.series] == [(rank, list(range(10))) for rank in range(3)]
        assert client.get_run(ranks[0]).status == "FINISHED"
    assert len({ranks[0] for ranks in launched}) == 3


def test_programs_started_by_hand_in_one_step_are_runs_of_their_own(serve: ServeProcess) -> None:
    environment = {**IN_A_STEP, "SLURM_JOB_ID": uuid.uuid4().hex[:8]}
    launched = [launch(serve, "rank", 10, **environment) for _ in range(2)]
    assert launched[0] != launched[1]


@pytest.mark.parametrize(
    "environment", [{"TORCHELASTIC_RUN_ID": "7", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}, {"RUNSTREAM_RUN_ID": ""}]
)
def test_a_run_whose_first_attempt_failed_is_running_while_the_second_trains(
    serve: ServeProcess, client: runstream.Client, environment: dict[str, str]
) -> None:
    environment = {name: value or uuid.uuid4().hex for name, value in environment.items()}
    first, errors = start(serve, "fails_then_is_restarted", 0, **environment, RANK="0").communicate(timeout=60)
    assert "a node was lost" in errors
    assert client.get_run(first.strip()).status == "FAILED"
    second = start(serve, "fails_then_is_restarted", 0, **environment, RANK="0", RUNSTREAM_ATTEMPT="1")
    assert second.stdout is not None
    assert second.stdout.readline() == first
    assert client.get_run(first.strip()).status == "RUNNING"
    second.communicate("go\n", timeout=60)
    assert client.get_run(first.strip()).status == "FINISHED"
    assert [(one.attempt, one.steps[0]) for one in client.history(first.strip(), "loss").series] == [(0, 0), (1, 10)]


def test_a_run_is_running_again_when_it_is_resumed_by_its_id(serve: ServeProcess, client: runstream.Client) -> None:
    (run_id,) = launch(serve, "rank", 10).values()
    assert client.get_run(run_id).status == "FINISHED"
    for step in (10, 11):  # also by the process that has just finished it
        with runstream.start_run(run_id=run_id, address=serve.grpc_address) as again:
            again.log({"loss": 1.0}, step=step)
            assert again.flush(30)
            assert client.get_run(run_id).status == "RUNNING"
        assert client.get_run(run_id).status == "FINISHED"
    assert list(client.history(run_id, "loss").steps) == list(range(12))
