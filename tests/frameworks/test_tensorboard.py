"""Event files of the real SummaryWriter of PyTorch, followed while they are written."""

from __future__ import annotations

import os
import subprocess
import sys

import torch
from torch.utils.tensorboard import SummaryWriter

from tests.support.polling import until_now
from tests.support.serve import COMMAND, command_environment


def bring(serve, logdir):
    done = subprocess.run(
        [*COMMAND, "tensorboard", str(logdir), "--once", "--address", serve.grpc_address],
        env=command_environment(), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def values(client, run_id, key):
    return [(one.attempt, one.step, one.value) for one in client.history(run_id, key)]


def test_everything_that_a_summary_writer_logs_is_imported(serve, client, tmp_path):
    logdir = tmp_path / "torch-logs"
    with SummaryWriter(str(logdir / "mlp")) as writer:
        for step in range(5_000):
            writer.add_scalar("loss", step / 2, step, new_style=step % 2 == 1)
        writer.add_scalar("precise", 0.1, 1, new_style=True, double_precision=True)
        writer.add_text("notes", "all went well", 1)
        writer.add_histogram("weights", torch.tensor([1.0, 2.0]), 1)
        writer.add_hparams({"lr": 0.1, "layers": 3}, {"hparam/accuracy": 0.5})
    bring(serve, logdir)
    (run,) = [client.get_run(run.run_id) for run in client.list_runs("torch-logs")]
    assert run.name == "mlp"
    assert values(client, run.run_id, "loss") == [(0, step, step / 2) for step in range(5_000)]
    assert values(client, run.run_id, "hparam/accuracy") == [(0, 0, 0.5)]
    assert values(client, run.run_id, "precise") == [(0, 1, 0.1)]
    assert run.params == {"lr": "0.1", "layers": "3"}
    assert run.tags["notes"] == "all went well"


def test_a_trainer_is_followed_and_its_restart_is_the_next_attempt(serve, client, tmp_path):
    logdir = tmp_path / "torch-live"
    command = [*COMMAND, "tensorboard", str(logdir), "--address", serve.grpc_address]
    logdir.mkdir()

    def stored():
        runs = client.list_runs("torch-live") if client_knows(client, "torch-live") else []
        return values(client, runs[0].run_id, "loss") if runs else []

    follower = subprocess.Popen(
        command, env=command_environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        with SummaryWriter(str(logdir)) as writer:
            for step in range(10):
                writer.add_scalar("loss", step, step)
                writer.flush()
            until_now(lambda: len(stored()) == 10)
        with SummaryWriter(str(logdir), purge_step=7) as writer:
            for step in range(7, 12):
                writer.add_scalar("loss", -step, step)
        until_now(lambda: len(stored()) == 15)
    finally:
        follower.kill()
        follower.wait()
    assert [one[1] for one in stored() if one[0] == 0] == list(range(10))
    assert [one[1:] for one in stored() if one[0] == 1] == [(step, -step) for step in range(7, 12)]


def client_knows(client, experiment):
    return experiment in {one.name for one in client.list_experiments()}


def test_the_followed_process_needs_neither_tensorflow_nor_tensorboard():
    code = (
        "import sys; from runstream.tensorboard import follower, dry_run; "
        "assert not {'tensorflow', 'tensorboard', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
