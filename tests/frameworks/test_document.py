"""docs/frameworks.md: each of its programs trains, and the service has its run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runstream
from tests.frameworks.stored import points_of, run_ids
from tests.support.markdown import ROOT, blocks_of
from tests.support.serve import ServeProcess

BLOCKS = blocks_of(ROOT / "docs" / "frameworks.md")
PROGRAMS = {block.text.splitlines()[0].removeprefix("# "): block.text for block in BLOCKS if block.language == "python"}
COMMANDS = [line.split() for block in BLOCKS if block.language == "bash" for line in block.text.splitlines()]
# Program -> runs that it makes, ranks of each, and metrics that each has at least.
EXPECTED = {
    "train_torch.py": (1, 2, {"train/loss"}),
    "train_lightning.py": (1, 1, {"train/loss", "epoch"}),
    "train_huggingface.py": (1, 1, {"train/loss", "eval/loss"}),
    "train_accelerate.py": (1, 1, {"train/loss"}),
    "train_keras.py": (1, 1, {"loss", "val_loss", "batch/loss"}),
    "train_optuna.py": (3, 1, {"train/loss", "value", "intermediate_value"}),
    "train_ray.py": (2, 1, {"train/loss", "training_iteration"}),
    "train_ray_workers.py": (1, 2, {"train/loss"}),
}
# JAX, which other tests have imported, warns of the forks by which Ray starts its processes.
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")]


def test_every_block_is_a_program_or_starts_one():
    assert EXPECTED.keys() == PROGRAMS.keys()
    assert {block.language for block in BLOCKS} == {"python", "bash"}
    assert {command[0] for command in COMMANDS} == {"torchrun"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_trains(
    serve: ServeProcess, client: runstream.Client, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    experiment = name.removeprefix("train_").removesuffix(".py")
    before = run_ids(client, experiment)
    # It would start a cluster of its own, which takes long; workers of Ray Train have the environment of theirs.
    cluster = {"RAY_ADDRESS": request.getfixturevalue("ray_cluster")} if name == "train_ray.py" else {}
    (tmp_path / name).write_text(PROGRAMS[name])
    torchrun = next((command[1:] for command in COMMANDS if command[-1] == name), None)
    command = ["-m", "torch.distributed.run", "--standalone", *torchrun] if torchrun else [name]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, **cluster, "RUNSTREAM_ADDRESS": serve.grpc_address, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,  # Ray starts a process for each worker, which takes a minute on a busy machine
    )
    assert done.returncode == 0, done.stderr
    assert " WARNING runstream" not in done.stderr
    runs, ranks, keys = EXPECTED[name]
    found = run_ids(client, experiment) - before
    assert len(found) == runs
    for run in map(client.get_run, found):
        assert (run.status, bool(run.params)) == ("FINISHED", True)
        for rank in range(ranks):
            assert points_of(client, run.run_id, rank=rank).keys() >= keys
