"""Training processes that log while a test harms the service, its database or the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import runstream
from tests.support.serve import command_environment

_SCRIPT = Path(__file__).parent.parent / "adversity" / "producer.py"


class Producers:
    """`count` processes, ranks of one run, each logging `points_per_s` points; steps are 0, 1, 2, ...

    `apart`: each has a connection of its own, as on a machine of its own. Otherwise one agent serves them all."""

    def __init__(
        self,
        address: str,
        count: int,
        points_per_s: float,
        *,
        apart: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._apart = apart
        self._environment = environment or {}
        self.run_id = uuid.uuid4().hex
        self._arguments = [(address, self.run_id, str(rank), str(points_per_s)) for rank in range(count)]
        self._processes: list[subprocess.Popen[str]] = []
        self._started = 0

    def __enter__(self) -> Producers:
        for rank, arguments in enumerate(self._arguments):
            environment = command_environment(self._environment)
            if self._apart:
                apart = f"{os.environ['RUNSTREAM_DIR']}-{self.run_id[:8]}-{rank}"
                environment |= {"RUNSTREAM_AGENT": "thread", "RUNSTREAM_DIR": apart}
            command = [sys.executable, str(_SCRIPT), *arguments]
            # Not forks of one process, in which gRPC may choose among replicas with the same random numbers.
            self._processes.append(
                subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            if rank == 0 and not self._apart:
                self._wait_until_started(1)  # or each would start an agent, and all but one would end again
        self._wait_until_started()
        return self

    def _wait_until_started(self, count: int | None = None) -> None:
        for process in self._processes[self._started : count]:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            self._started += 1

    def stop(self) -> list[dict[str, Any]]:
        """Lets the processes flush and end; returns the report of each, by rank."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        reports = []
        for process in self._processes:
            assert process.stdout is not None
            reports.append(json.loads(process.stdout.readline()))
            assert process.wait(60) == 0
        return reports

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()


def assert_exactly_once(address: str, run_id: str, reports: list[dict[str, Any]]) -> None:
    """Every logged point is stored once, read back through the service."""
    with runstream.Client(address) as client:
        for rank, report in enumerate(reports):
            assert report["flushed"], report
            assert report["refused"] == {}, report
            points = client.history(run_id, "loss", rank=rank)
            assert [point.step for point in points] == list(range(report["logged"]))
            assert [point.value for point in points] == [step * 0.5 for step in range(report["logged"])]
