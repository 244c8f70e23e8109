"""A real `runstream serve` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import psutil
from prometheus_client.parser import text_string_to_metric_families

from runstream_bench import http_client
from runstream_bench.server_process import COMMAND as COMMAND
from runstream_bench.server_process import START_S, RunstreamProcess
from runstream_service.database.embedded import DATABASE
from runstream_service.database.postgres_files import cluster_name, processes_of, read_postmaster
from tests.support.clusters import place_cluster
from tests.support.preloaded import Preloaded


def command_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of commands, without settings of the person who runs the tests; journals are in the test's
    directory."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RUNSTREAM_")}
    if "RUNSTREAM_DIR" in os.environ:
        ours["RUNSTREAM_DIR"] = os.environ["RUNSTREAM_DIR"]
    return {**ours, **(extra or {})}


class ServeProcess(RunstreamProcess):
    """Starts `runstream serve` on free ports, with a data directory. A context manager: leaves no process.

        with ServeProcess(data_dir) as serve:
            connect(serve.grpc_address)
            serve.kill()
            serve.start()

    Its PostgreSQL is a copy of one that was made before, and its modules are imported already; with `fresh`, it does
    both itself, as it does for users.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
        fresh: bool = False,
    ) -> None:
        self._stderr = tempfile.NamedTemporaryFile("w+b")  # noqa: SIM115 - closed in __exit__
        options = ["--data-dir", str(data_dir), "--workers", os.environ.get("SERVE_WORKERS", "1"), *arguments]
        variables = command_environment(environment)
        super().__init__(Path(self._stderr.name), *options, command=command, environment=variables, stop_s=90)
        self.data_dir = data_dir
        self._fresh = fresh
        self._has_own_postgres = not ({"--database", "RUNSTREAM_DATABASE"} & {*arguments, *variables})
        self._parsed = 0
        self._records: list[dict[str, Any]] = []

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self, *, timeout_s: float = START_S) -> None:
        """Returns when it is ready. Raises RuntimeError, with what the process said, if it does not get ready."""
        if not self._fresh and self._has_own_postgres and not (self.data_dir.exists() and any(self.data_dir.iterdir())):
            place_cluster(self.data_dir)
        super().start(timeout_s=timeout_s)

    def _popen(self, command: Sequence[str], files: Mapping[str, Any]) -> subprocess.Popen[str]:
        if self._fresh or command[: len(COMMAND)] != list(COMMAND):
            return super()._popen(command, files)
        return Preloaded(command, self._environment or {}, **files)

    def restart(self, *arguments: str) -> None:
        """SIGTERM, then a new start on the same ports, with additional arguments."""
        self.terminate()
        self._arguments += arguments
        self.start()

    def kill_postgres(self) -> None:
        """kill -9 of the embedded PostgreSQL, unless it is down and about to start again."""
        if (pid := self.postgres_pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> ServeProcess:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.stop()
        cluster = self.data_dir.resolve() / "postgres"
        if (cluster / "postmaster.pid").exists():  # it was not stopped in order
            for process in list(processes_of(cluster)):
                process.kill()
        shutil.rmtree(Path(tempfile.gettempdir()) / cluster_name(cluster), ignore_errors=True)
        self._stderr.close()

    # -- what one can see of it --------------------------------------------------------------------------------------

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers, with --workers; oldest first."""
        return [child.pid for child in psutil.Process(self.pid).children() if _is_worker(child)]

    @property
    def postgres_pid(self) -> int | None:
        """The process id of the embedded PostgreSQL, from its pid file."""
        postmaster = read_postmaster(self.data_dir.resolve() / "postgres")
        return postmaster.pid if postmaster else None

    @property
    def database_url(self) -> str:
        """The URL of the embedded PostgreSQL while it runs."""
        postmaster = read_postmaster(self.data_dir.resolve() / "postgres")
        assert postmaster is not None
        host = quote(str(postmaster.socket_directory), safe="")
        return f"postgresql://postgres@/{DATABASE}?host={host}&port={postmaster.port}"

    @property
    def stderr(self) -> str:
        """Everything that the service has logged, over all restarts."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    @property
    def log_records(self) -> list[dict[str, Any]]:
        """The JSON records of the log. Records that were read before are not parsed again, since a soak logs a lot."""
        fresh = os.pread(self._stderr.fileno(), os.fstat(self._stderr.fileno()).st_size - self._parsed, self._parsed)
        lines, newline, _ = fresh.rpartition(b"\n")
        self._parsed += len(lines) + len(newline)
        self._records += [json.loads(line) for line in lines.splitlines() if line[:1] == b"{" and line[-1:] == b"}"]
        return self._records

    def actions(self) -> list[str]:
        """The actions of all log records so far."""
        return [record["action"] for record in self.log_records]

    def wait_for_action(self, action: str, *, count: int = 1, timeout_s: float = 90) -> dict[str, Any]:
        """Waits until the log has `count` records of an action; returns the last one."""
        begun = time.monotonic()
        while True:
            found = [record for record in self.log_records if record["action"] == action]
            if len(found) >= count:
                return found[-1]
            if time.monotonic() > begun + timeout_s:
                raise TimeoutError(f"no {action} within {timeout_s} s in:\n{self.stderr}")
            time.sleep(_pause_s(begun))

    def get(self, path: str) -> tuple[int, str]:
        """GET of an HTTP path, at the port for monitoring if there is one; returns status and body."""
        answer = http_client.get(self.monitoring_url + path)
        return answer.status, answer.text

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample of /metrics. Raises KeyError if there is none."""
        # Those of the sample alone: tests wait for a value, and to read all lines takes twenty times as long.
        lines = [line for line in self.get("/metrics")[1].splitlines(keepends=True) if line.startswith(name)]
        for family in text_string_to_metric_families("".join(lines)):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        raise KeyError(f"{name}{labels or ''}")

    def wait_until(self, path: str, status: int, *, timeout_s: float = 90) -> str:
        """Polls a path until it answers with the status; returns the body."""
        begun = time.monotonic()
        while True:
            answered, body = self.get(path)
            if answered == status:
                return body
            if time.monotonic() > begun + timeout_s:
                raise TimeoutError(f"{path} still answers {answered}: {body}")
            time.sleep(_pause_s(begun))


def _pause_s(begun_s: float) -> float:
    """How long to wait before asking again: a tenth of what has passed, since a wait for half a minute needs no better
    answer."""
    return min(max(0.02, (time.monotonic() - begun_s) / 10), 0.25)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "runstream_service.server.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie, which has ended as well
        return False
