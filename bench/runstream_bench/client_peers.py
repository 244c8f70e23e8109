"""What other clients' log calls cost their caller. A process for each package, which prints a JSON array:

python -m runstream_bench.client_peers PEER CALLS TRACKING_URI [PEER CALLS TRACKING_URI ...]

PEER is mlflow, mlflow_async, trackio or wandb; the last two need no URI (""). For each of them, in this order:
{"median": ..., "p999": ...} in microseconds, or {"skipped": why}.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

_WARM_UP = 20


@contextlib.contextmanager
def _mlflow(uri: str, *, synchronous: bool) -> Iterator[Callable[[float, int], object]]:
    mlflow = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        yield lambda value, step: mlflow.log_metric("loss", value, step=step, synchronous=synchronous)


@contextlib.contextmanager
def _trackio() -> Iterator[Callable[[float, int], object]]:
    trackio = importlib.import_module("trackio")
    trackio.init(project="bench")
    yield lambda value, step: trackio.log({"loss": value}, step=step)
    trackio.finish()


@contextlib.contextmanager
def _wandb() -> Iterator[Callable[[float, int], object]]:
    wandb = importlib.import_module("wandb")
    run = wandb.init(project="bench", mode="offline")
    yield lambda value, step: run.log({"loss": value}, step=step)
    run.finish()


def measure(peer: contextlib.AbstractContextManager[Callable[[float, int], object]], calls: int) -> dict[str, Any]:
    """The median and the 99.9th percentile of this many calls."""
    clock = time.perf_counter_ns
    spent = []
    with peer as log:
        for step in range(1, 1 + _WARM_UP + calls):
            begun = clock()
            log(1.0 / step, step)
            spent.append(clock() - begun)
    spent = sorted(spent[_WARM_UP:])
    return {"median": spent[calls // 2] / 1_000, "p999": spent[min(calls - 1, int(calls * 0.999))] / 1_000}


def main(name: str, calls: int, uri: str) -> dict[str, Any]:
    """Measures one client, or says why it cannot be measured."""
    module = name.partition("_")[0]
    try:
        importlib.import_module(module)
    except ImportError:
        return {"skipped": f"{module} is not installed"}
    peers = {
        "mlflow": lambda: _mlflow(uri, synchronous=True),
        "mlflow_async": lambda: _mlflow(uri, synchronous=False),
        "trackio": _trackio,
        "wandb": _wandb,
    }
    try:
        return measure(peers[name](), calls)
    except Exception as error:  # whatever goes wrong in one client, the others are measured
        return {"skipped": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # some clients print a greeting on stdout
        asked = zip(*(iter(sys.argv[1:]),) * 3, strict=True)
        found = [main(name, int(calls), uri) for name, calls, uri in asked]
    print(json.dumps(found))
