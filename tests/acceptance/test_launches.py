"""Two launches are two runs, one launch is one run: real processes with the variables of real launchers."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import runstream
from tests.support.polling import until_now
from tests.support.rest import Rest
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


def start(serve: ServeProcess, name: str, number: int, **environment: str) -> subprocess.Popen[str]:
    """A program of tests/unit/client/processes.py, without the variables of the person who runs the tests."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "RUNSTREAM", "PMI"))}
    bare["RUNSTREAM_DIR"] = os.environ["RUNSTREAM_DIR"]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.client.processes", name, str(number)],
        cwd=ROOT,
        env={**bare, "RUNSTREAM_ADDRESS": serve.grpc_address, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(client: runstream.Client, run_id: str, status: str) -> None:
    """Waits until a run has ended with this status. A process waits only so long for the answer to its end."""
    until_now(lambda: client.get_run(run_id).status != "RUNNING")
    assert client.get_run(run_id).status == status


def launch(serve: ServeProcess, name: str, number: int, **environment: str) -> dict[int, str]:
    """Runs a launcher to its end; returns the run id of each rank."""
    output, errors = start(serve, name, number, **environment).communicate(timeout=250)
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
        pytest.param("lightning", {}, id="Lightning, which launches its ranks after the run was started"),
    ],
)
def test_all_ranks_of_a_launch_share_a_run_that_the_next_launch_does_not(
    serve: ServeProcess, client: runstream.Client, name: str, environment: dict[str, str]
) -> None:
    launched = [launch(serve, name, 3, **environment) for _ in range(2)]
    for ranks in launched:
        assert sorted(ranks) == [0, 1, 2]
        assert len(set(ranks.values())) == 1
        history = client.history(ranks[0], "loss")
        assert [(one.rank, list(one.steps)) for one in history.series] == [(rank, list(range(10))) for rank in range(3)]
        ends(client, ranks[0], "FINISHED")
    assert len({ranks[0] for ranks in launched}) == 2


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
    first, errors = start(serve, "fails_then_is_restarted", 0, **environment, RANK="0").communicate(timeout=250)
    assert "a node was lost" in errors
    ends(client, first.strip(), "FAILED")
    second = start(serve, "fails_then_is_restarted", 0, **environment, RANK="0", RUNSTREAM_ATTEMPT="1")
    assert second.stdout is not None
    assert second.stdout.readline() == first
    assert client.get_run(first.strip()).status == "RUNNING"
    second.communicate("go\n", timeout=250)
    ends(client, first.strip(), "FINISHED")
    assert [(one.attempt, one.steps[0]) for one in client.history(first.strip(), "loss").series] == [(0, 0), (1, 10)]


def test_a_run_is_running_again_when_it_is_resumed_by_its_id(serve: ServeProcess, client: runstream.Client) -> None:
    (run_id,) = launch(serve, "rank", 10).values()
    ends(client, run_id, "FINISHED")
    for step in (10, 11):  # also by the process that has just finished it
        with runstream.start_run(run_id=run_id, address=serve.grpc_address) as again:
            again.log({"loss": 1.0}, step=step)
            assert again.flush(120)
            assert client.get_run(run_id).status == "RUNNING"
        ends(client, run_id, "FINISHED")
    assert list(client.history(run_id, "loss").steps) == list(range(12))


@pytest.mark.parametrize(
    ("first", "key", "attempt", "said"),
    [
        pytest.param(150, "loss", "0", True, id="steps that were logged before"),
        pytest.param(200, "loss", "0", False, id="steps that go on"),
        pytest.param(150, "loss", "1", False, id="a new attempt"),
        pytest.param(0, "accuracy", "0", False, id="another metric"),
    ],
)
def test_a_restarted_job_is_told_that_its_steps_are_there_already(
    serve: ServeProcess, client: runstream.Client, first: int, key: str, attempt: str, said: bool
) -> None:
    environment = {"RUNSTREAM_RUN_ID": uuid.uuid4().hex}
    start(serve, "killed_and_restarted", 0, KEY="loss", **environment).communicate(timeout=250)
    again = start(serve, "killed_and_restarted", first, KEY=key, RUNSTREAM_ATTEMPT=attempt, **environment)
    output, errors = again.communicate(timeout=250)
    assert output.split() == [environment["RUNSTREAM_RUN_ID"]]
    assert errors.count("RUNSTREAM_ATTEMPT") == said, errors
    if said:
        assert f"'loss' starts at step {first}" in errors
        assert "up to step 199" in errors
    assert sum(len(one.steps) for one in client.history(output.strip(), key).series) == (200 if key != "loss" else 400)


def test_a_job_whose_experiment_was_deleted_keeps_its_points_and_says_where_they_are(
    serve: ServeProcess, client: runstream.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with runstream.start_run("to be deleted", address=serve.grpc_address) as first:
        first.log({"loss": 1.0})
    experiment_id = str(client.get_experiment("to be deleted").experiment_id)
    with Rest(serve.http_url) as rest:
        assert rest.post("experiments/delete", {"experiment_id": experiment_id}).status == 200
    run = runstream.start_run("to be deleted", address=serve.grpc_address)
    for step in range(100):
        run.log({"loss": 1.0}, step=step)
    assert run.finish()
    assert client.get_run(run.run_id).experiment == "to be deleted (2)"
    assert len(client.history(run.run_id, "loss")) == 100
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    (record,) = [one for one in warnings if "waiting up to" not in one.getMessage()]  # a busy machine says that, too
    assert "'to be deleted' is deleted, so the run is in 'to be deleted (2)'" in record.getMessage()
    assert "restore it" in record.getMessage()
    assert [one.run_id for one in client.list_runs("to be deleted (2)")] == [run.run_id]
