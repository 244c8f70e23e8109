"""`runstream import wandb` and `trackio` of what their real clients leave on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import runstream
from tests.support.serve import COMMAND, ServeProcess, command_environment

WANDB = """
import wandb
config = {"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}}
run = wandb.init(project="kept by wandb", name="mlp", config=config, tags=["a", "b"], notes="hello")
for step in range(50):
    run.log({"loss": 1 / (step + 1), "val/acc": float("nan") if step == 3 else step / 50}, step=2 * step)
run.log({"text": "abc", "nested": {"x": 1.5}, "histogram": wandb.Histogram([1, 2, 3])})
run.summary["best"] = 0.7
run.finish()
"""
TRACKIO = """
import trackio
trackio.init(project="kept-by-trackio", name="mlp", config={"lr": 0.1})
for step in range(50):
    trackio.log({"loss": 1 / (step + 1), "acc": float("nan") if step == 3 else step / 50})
trackio.finish()
"""


def train(script: str, directory: Path) -> None:
    """In a process of its own, without a network."""
    quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "TRACKIO_DIR": str(directory / "trackio")}
    subprocess.run([sys.executable, "-c", script], cwd=directory, env={**os.environ, **quiet}, check=True, timeout=200)


def bring(serve: ServeProcess, *arguments: str) -> None:
    where = {"RUNSTREAM_ADDRESS": serve.grpc_address, "RUNSTREAM_MLFLOW_HTTP_ADDRESS": serve.http_url}
    subprocess.run([*COMMAND, "import", *arguments], env=command_environment(where), check=True, timeout=120)


def steps(client: runstream.Client, run_id: str, key: str) -> list[int]:
    return [point.step for point in client.history(run_id, key)]


def test_an_offline_run_of_wandb(tmp_path: Path, serve: ServeProcess, client: runstream.Client) -> None:
    train(WANDB, tmp_path)
    bring(serve, "wandb", str(tmp_path / "wandb"))
    (listed,) = client.list_runs("kept by wandb")
    run = client.get_run(listed.run_id)
    assert (run.name, run.status) == ("mlp", "FINISHED")
    assert run.params == {"lr": "0.1", "opt.name": "adam", "opt.betas": "[0.9, 0.99]"}
    assert run.tags["wandb.tags"] == "a, b"
    assert run.tags["mlflow.note.content"] == "hello"
    assert run.tags["wandb.summary.best"] == "0.7"
    assert steps(client, run.run_id, "loss") == list(range(0, 100, 2))
    assert [str(point.value) for point in client.history(run.run_id, "val/acc")][3] == "nan"
    assert steps(client, run.run_id, "nested.x") == [98]


def test_a_project_of_trackio(tmp_path: Path, serve: ServeProcess, client: runstream.Client) -> None:
    train(TRACKIO, tmp_path)
    bring(serve, "trackio", str(tmp_path / "trackio"))
    (listed,) = client.list_runs("kept-by-trackio")
    run = client.get_run(listed.run_id)
    assert (run.name, run.params) == ("mlp", {"lr": "0.1"})
    assert steps(client, run.run_id, "loss") == list(range(50))
    assert [str(point.value) for point in client.history(run.run_id, "acc")][3] == "nan"
