"""Training processes with the real client, each a rank of one run, that log steadily while the service has faults:

python -m runstream_bench.fault_clients ADDRESSES RUN_ID CLIENTS POINTS_PER_S

Prints a line of JSON ten times a second: what all of them together have logged, and what of it is acknowledged. "mark"
on standard input asks when everything logged until then has arrived, and starts the search for the longest gap between
two acknowledgements; "stop" lets them flush, after which the last line is printed.
"""

from __future__ import annotations

import json
import logging
import mmap
import multiprocessing
import os
import select
import sys
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeAlias

import numpy as np

import runstream

KEYS = 50
_TICK_S = 0.05
_SAY_EVERY_S = 0.1
_FLUSH_S = 300.0
# What each client reports, in shared memory.
_LOGGED, _ACKNOWLEDGED, _BYTES, _WARNINGS, _COLUMNS = range(5)

Table: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.int64]]"


def value_of(step: float, key: int) -> float:
    """The value that is logged for a key in a step."""
    return step * 0.5 + key


class _Warnings(logging.Handler):
    """Collects the warnings of the client."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _client(
    rank: int, address: str, run_id: str, points_per_s: float, table: Table, reports: SimpleQueue[dict[str, Any]]
) -> None:
    """One training process: logs until the last row of the table says stop, flushes, reports."""
    warnings = _Warnings()
    logging.getLogger("runstream").addHandler(warnings)
    parent = os.getppid()
    row, stop = table[rank], table[-1]
    run = runstream.start_run("bench", "faults", run_id=run_id, rank=rank, address=address)

    def tell() -> None:
        stats = run.stats()
        row[:] = (stats.logged, stats.acknowledged, stats.buffered_bytes, len(warnings.messages))

    step, begun = 0, time.monotonic()
    while not stop[0] and os.getppid() == parent:
        while step * KEYS < (time.monotonic() - begun) * points_per_s:
            run.log({f"metric/{key}": value_of(step, key) for key in range(KEYS)}, step=step)
            step += 1
        tell()
        time.sleep(_TICK_S)
    flushed = run.flush(_FLUSH_S)
    tell()
    stats = run.stats()
    run.finish()
    reports.put(
        {
            "rank": rank,
            "steps": step,
            "flushed": flushed,
            "refused": sum(stats.refused.values()),
            "reconnects": stats.reconnects,
            "warnings": warnings.messages,
            "last_error": stats.last_error,
        }
    )


class _Watch:
    """Follows the table: the longest gap between acknowledgements, and when marked points have arrived."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._acknowledged = table[:, _ACKNOWLEDGED].copy()
        self._since = np.full(len(table), time.monotonic())
        self._gap_s = 0.0
        self._marked: tuple[float, Any] | None = None
        self._arrived_s: float | None = None

    def mark(self) -> None:
        """The command "mark": starts the search for the longest gap, and remembers what has been logged."""
        self._gap_s, self._arrived_s = 0.0, None
        self._marked = (time.monotonic(), self._table[:, _LOGGED].copy())

    def collect(self) -> None:
        """Compares the table with what it was before."""
        now = time.monotonic()
        acknowledged = self._table[:, _ACKNOWLEDGED].copy()
        # This includes a gap that has not ended yet.
        self._gap_s = max(self._gap_s, float((now - self._since).max()))
        self._since[acknowledged > self._acknowledged] = now
        self._acknowledged = acknowledged
        if self._marked is not None and (acknowledged >= self._marked[1]).all():
            self._arrived_s = now - self._marked[0]
            self._marked = None

    def say(self, **more: Any) -> None:
        """Prints the line."""
        logged, acknowledged, size, warnings = (int(total) for total in self._table.sum(axis=0))
        line = {
            "logged": logged, "acknowledged": acknowledged, "bytes": size, "warnings": warnings,
            "all_acknowledged": bool((self._acknowledged > 0).all()), "gap_s": self._gap_s,
            "arrived_s": self._arrived_s,
        }  # fmt: skip
        print(json.dumps({**line, **more}), flush=True)


def main(address: str, run_id: str, clients: int, points_per_s: float) -> None:
    """Runs until the command "stop"."""
    # A row for each client. In the last one, this process notes that they are to stop.
    table: Table = np.frombuffer(mmap.mmap(-1, (clients + 1) * _COLUMNS * 8), np.int64).reshape(clients + 1, _COLUMNS)
    # Forked, so that fifty processes import their libraries once. Nothing of gRPC has been started before.
    fork = multiprocessing.get_context("fork")
    reports: SimpleQueue[dict[str, Any]] = fork.SimpleQueue()
    for rank in range(clients):
        arguments = (rank, address, run_id, points_per_s / clients, table, reports)
        fork.Process(target=_client, args=arguments, daemon=True).start()
    watch = _Watch(table[:-1])
    _until_stopped(watch)
    table[-1] = 1
    told: list[dict[str, Any]] = [reports.get() for _ in range(clients)]
    watch.collect()
    watch.say(reports=sorted(told, key=lambda report: int(report["rank"])))


def _until_stopped(watch: _Watch) -> None:
    commands: dict[str, Callable[[], None]] = {"mark\n": watch.mark}
    said = 0.0
    while True:
        if select.select([0], [], [], _TICK_S / 2)[0]:
            command = commands.get(os.read(0, 100).decode())
            if command is None:
                return
            command()
        watch.collect()
        if time.monotonic() - said >= _SAY_EVERY_S:
            said = time.monotonic()
            watch.say()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
