"""Measures how many points a second N workers of the service store, compared with one process, if the service is the
limit although the machine has few cores; docs/sizing.md has the figures.

    .venv/bin/python tools/measure_workers.py [WORKERS] [SECONDS] [PAIRS]

As `runstream bench --serve-workers`, but each worker, and the process that has none, is held to a quarter of a core by
a control group (version 1), so that the load and all else find enough cores. Needs the right to make control groups.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import uvloop

from runstream_bench import report, serve_workers
from runstream_bench.server_process import RunstreamProcess

_CONTROL_GROUPS = Path("/sys/fs/cgroup/cpu")
_PART, _PERIOD_US = 0.25, 20_000


class Holds:
    """The control groups; `remove` is for when their processes have ended."""

    def __init__(self) -> None:
        self._groups: list[Path] = []

    def hold_services(self, services: dict[int, RunstreamProcess]) -> None:
        """Hold the process of the service that has one, and the workers of the other."""
        for count, one in services.items():
            process = psutil.Process(one.pid)
            children = [child for child in process.children() if "worker" in child.cmdline()]
            for held in children if count > 1 else [process]:
                self._hold(held.pid)

    def _hold(self, pid: int) -> None:
        group = _CONTROL_GROUPS / f"runstream-bench-{pid}"
        group.mkdir()
        self._groups.append(group)
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(round(_PERIOD_US * _PART)))
        (group / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Remove the groups, which the kernel allows a moment after their processes have ended."""
        give_up = time.monotonic() + 10
        for group in self._groups:
            while True:
                try:
                    group.rmdir()
                    break
                except OSError:
                    if time.monotonic() > give_up:
                        raise
                time.sleep(0.05)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(workers: int = 2, seconds: float = 5.0, pairs: int = 3) -> None:
    """Measure and print one line of JSON."""
    if not os.access(_CONTROL_GROUPS, os.W_OK):
        sys.exit(f"{_CONTROL_GROUPS} is not there or not writable; runstream bench --serve-workers needs no such right")
    holds = Holds()
    try:
        values = uvloop.run(serve_workers.measure(workers, seconds, pairs, _say, holds.hold_services))
    finally:
        holds.remove()
    sys.stdout.write(report.as_json(values) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
