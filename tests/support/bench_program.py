"""`runstream bench` as a fork of tests/support/preloaded.py, whose services are forks as well, and whose PostgreSQL is
a copy of one that was made before. Otherwise each benchmark would import everything several times and run initdb,
before anything that its test is about happens. What it measures, and all processes of the load, are as they always are.

python -m tests.support.bench_program OPTIONS
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from runstream_bench.cli import bench
from runstream_bench.server_process import RunstreamProcess, ServerProcess
from runstream_service.database.embedded import EmbeddedPostgres
from tests.support import preloaded
from tests.support.clusters import place_cluster

COMMAND = (sys.executable, "-m", "tests.support.bench_program")


class _NextHelper(preloaded.Helper):
    """Forks this process, which has everything imported and no threads yet, and asks that fork for further ones."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        if os.fork():
            theirs.close()
            return
        self._requests.close()
        with theirs:
            request = preloaded.serve_forks(theirs)
        code, variables = preloaded.become(request)
        preloaded.run_to_its_end(code, variables)


def _start_services_as_forks() -> None:
    helper = _NextHelper()

    def popen(self: ServerProcess, command: Sequence[str], files: Mapping[str, Any]) -> subprocess.Popen[str]:
        return preloaded.Preloaded(command, self._environment or os.environ, **files)

    preloaded.Helper.of = lambda *_: helper  # type: ignore[method-assign]
    RunstreamProcess._popen = popen  # type: ignore[method-assign]


def _copy_clusters() -> None:
    start = EmbeddedPostgres.start

    async def start_copy(self: EmbeddedPostgres) -> None:
        if not self.cluster.exists():
            place_cluster(self.data_dir)
        await start(self)

    EmbeddedPostgres.start = start_copy  # type: ignore[method-assign]


if __name__ == "__main__":
    _start_services_as_forks()
    _copy_clusters()
    bench()
