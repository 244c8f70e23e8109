"""What workers of Ray run: it is imported there by name, so it imports little."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ray import train, tune

from runstream.ray import start_run


def falling(config):
    """Reports a loss three times; one that fails does so before the third report, and again from its checkpoint."""
    first, restored = 0, tune.get_checkpoint()
    if restored is not None:
        with restored.as_directory() as directory:
            first = json.loads((Path(directory) / "step.json").read_text())
    for step in range(first, 3):
        if step == 2 and config["fails"]:
            raise RuntimeError("diverged")
        with tempfile.TemporaryDirectory() as directory:
            # One step behind, as of a training that saves seldom.
            (Path(directory) / "step.json").write_text(json.dumps(step))
            loss = {"loss": config["lr"] / (step + 1), "val": {"loss": float(step)}, "note": "a text"}
            tune.report(loss, checkpoint=tune.Checkpoint.from_directory(directory))


def work(config):
    """A worker of Ray Train logs two steps, and its rank as loss. Rank 1 fails at the second step while the attempt is
    one of `fails`; else the training ends with a checkpoint."""
    with start_run("ray train", params={"lr": config["lr"]}, address=config["address"]) as run:
        run.log({"loss": float(run.rank)}, step=0)
        if run.attempt in config["fails"] and run.rank == 1:
            raise RuntimeError("diverged")
        if run.attempt in config["fails"]:
            run.flush()
        run.log({"loss": float(run.rank)}, step=1)
        with tempfile.TemporaryDirectory() as directory:
            train.report({}, checkpoint=train.Checkpoint.from_directory(directory))
