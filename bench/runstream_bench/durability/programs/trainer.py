"""A training process: python trainer.py CONFIG, a JSON object.

It logs until its standard input is closed, and notes in the file `truth` what it logs before each call, and how the
call ended after it. A write is enough for that: what a process has written survives its kill -9. A sync after each call
would only keep the disk busy, which the trackers share with it.
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Any

from clients import CLIENTS, one_line  # type: ignore[import-not-found]  # beside this file, when it runs

# Late steps, a step that comes twice, and what floating point has.
HARD = [
    (0, 0.1), (1, math.nan), (2, math.inf), (3, -math.inf), (4, 5e-324), (5, 1.7976931348623157e308), (6, -0.0),
    (100, 1 / 3), (101, 2 / 3), (50, 0.5), (51, 0.25), (100, 4 / 3), (7, 1e-300), (1_000_000_000_000, 3.5),
]  # fmt: skip


class Notes:
    """The truth: a JSON object a line."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, **what: Any) -> None:
        os.write(self._file, json.dumps(what).encode() + b"\n")


def value_of(rank: int, step: int, key: int) -> float:
    """Another one for each point, with all the digits that a double has."""
    return math.sqrt(2 + (rank * 1_000_000 + step) * 100 + key)


def rows(config: dict[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
    """The steps and values to log."""
    if config["script"] == "hard":
        for step, value in HARD:
            yield step, {f"metric_{key}": value for key in range(config["keys"])}
        return
    for step in range(sys.maxsize):
        yield step, {f"metric_{key}": value_of(config["rank"], step, key) for key in range(config["keys"])}


def is_stopped(within_s: float) -> bool:
    """Whether standard input was closed, at once or within that time."""
    return bool(select.select([sys.stdin], [], [], within_s)[0])


def main(config: dict[str, Any]) -> None:
    notes = Notes(config["truth"])
    begun = time.perf_counter()
    try:
        client = CLIENTS[config["client"]](config)
    except Exception as error:
        notes.add(failed=one_line(error), s=time.perf_counter() - begun)
        return
    notes.add(ready=client.run_id, s=time.perf_counter() - begun)
    others_s = time.process_time() - time.thread_time()
    for number, (step, values) in enumerate(rows(config)):
        # The training step. A call that takes long delays all later steps, as it does in a training.
        if is_stopped(config["step_s"]):
            break
        notes.add(n=number, step=step, at=time.time(), values={key: value.hex() for key, value in values.items()})
        begun = time.perf_counter()
        try:
            client.log(values, step)
        except Exception as error:  # a script that does not catch it ends here
            notes.add(refused=number, s=time.perf_counter() - begun, error=one_line(error))
        else:
            notes.add(returned=number, s=time.perf_counter() - begun)
    others_s = time.process_time() - time.thread_time() - others_s
    begun = time.perf_counter()
    try:
        told = client.finish()
    except Exception as error:
        told = [one_line(error)]
    notes.add(finished=told, s=time.perf_counter() - begun, others_s=others_s)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
