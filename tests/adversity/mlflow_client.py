"""Training processes that log with MLflow's client, for the adversity tests: each logs step after step until a file
appears, and notes in `stepsN` how many it has logged. MLflow is imported once, before they part.

    python mlflow_client.py TRACKING_URI RUN_ID PROCESSES KEYS STOP_FILE
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric

TIME_MS = 1_700_000_000_000


def log(client: MlflowClient, run_id: str, number: int, keys: int, stop: Path) -> None:
    """What one process does: in each step a batch, and a metric alone."""
    step = 0
    logged = stop.with_name(f"steps{number}")
    while not stop.exists():
        batch = [Metric(f"worker{number}/batch{key}", step * 0.5, TIME_MS + step, step) for key in range(keys)]
        send(client.log_batch, run_id, batch)
        send(client.log_metric, run_id, f"worker{number}/alone", step * 0.25, timestamp=TIME_MS + step, step=step)
        step += 1
        logged.write_text(f"{step}\n")


def send(call: Callable[..., object], *arguments: object, **more: object) -> None:
    """The client sends a request again, but not if it was answered with a head and the end came before the body: then
    this does."""
    try:
        call(*arguments, **more)
    except MlflowException as error:
        if "IncompleteRead" not in str(error):
            raise
        send(call, *arguments, **more)


def main(tracking_uri: str, run_id: str, processes: int, keys: int, stop: Path) -> None:
    client = MlflowClient(tracking_uri)
    children = []
    for number in range(processes):
        if (child := os.fork()) == 0:
            log(client, run_id, number, keys, stop)
            os._exit(0)
        children.append(child)
    print("started", flush=True)
    sys.exit(max(os.waitpid(child, 0)[1] for child in children) and 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
