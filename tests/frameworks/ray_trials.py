"""What workers of Ray run: it is imported there by name, so it imports little."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ray import tune


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
