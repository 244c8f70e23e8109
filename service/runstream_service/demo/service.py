"""`runstream serve` as a child process, in a directory that is deleted afterwards unless the user has chosen it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

from runstream_service.database.postgres_files import cluster_name, processes_of
from runstream_service.demo.failure import DemoFailed

_READY_S = 120.0  # a first start on a slow disk takes seconds, a recovery may take longer
_STOP_S = 30.0  # more than --shutdown-grace
_ORPHANS_S = 10.0
_SHOWN_LOG_LINES = 5  # the end of the log that is shown when the service fails


class Service:
    """The process. It starts with `start`, listens when `wait_ready` has returned, and has ended when `stop` has."""

    def __init__(self, data_dir: Path | None) -> None:
        self.temporary = data_dir is None
        self.directory = Path(tempfile.mkdtemp(prefix="runstream-demo-")) if data_dir is None else data_dir.absolute()
        self.data_dir = self.directory / "data" if data_dir is None else self.directory
        self.log = self.directory / "demo-service.log"
        self._cluster = self.data_dir.resolve() / "postgres"
        self.grpc_address = ""
        self.http_url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts the process and returns at once. Raises DemoFailed if the directory cannot be used."""
        try:
            if self.temporary or not self.directory.exists():
                self.directory.mkdir(parents=True, exist_ok=True)
                self.directory.chmod(0o755)  # under root, PostgreSQL runs with another account, which needs access
            log = self.log.open("w")
        except OSError as error:
            raise DemoFailed(f"cannot write to {self.directory}: {error.strerror}") from error
        command = [sys.executable, "-m", "runstream_service", "serve", "--json-ready", "--log-format", "text"]
        command += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir", str(self.data_dir)]
        with log:
            self._process = subprocess.Popen(  # noqa: S603 - the command line has no foreign input
                command,
                # Settings of the user's own service are not meant for this one.
                env={name: value for name, value in os.environ.items() if not name.startswith("RUNSTREAM_")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C reaches only this process, which stops the service at the end
            )

    def wait_ready(self) -> None:
        """Returns when the service is ready. Raises DemoFailed with the end of its log if it does not start."""
        assert self._process is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(_READY_S, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            self._process.wait()
            raise DemoFailed(f"the service did not start:\n{self._end_of_log()}")
        ready = json.loads(line)
        self.grpc_address, self.http_url = ready["grpc"], ready["http"]

    def check(self) -> None:
        """Raises DemoFailed if the process has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise DemoFailed(f"the service ended with exit code {self._process.returncode}:\n{self._end_of_log()}")

    def wait(self) -> None:
        """Waits until the process ends, which raises DemoFailed. The exception of a signal ends the wait earlier."""
        assert self._process is not None
        self._process.wait()
        self.check()

    def stop(self) -> None:
        """Stops the process and its PostgreSQL."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()  # a second signal forces the end, also of PostgreSQL
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        # PostgreSQL outlives a service that was killed, so that the next service finds it running. Here, none comes.
        orphans = list(processes_of(self._cluster))
        for orphan in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.send_signal(signal.SIGQUIT)
        psutil.wait_procs(orphans, timeout=_ORPHANS_S)

    def tidy(self, *, keep_log: bool) -> None:
        """Deletes temporary directories, except for the log if `keep_log` is true."""
        if not self.temporary:
            return
        for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - where PostgreSQL had its socket
            shutil.rmtree(Path(parent) / cluster_name(self._cluster), ignore_errors=True)
        shutil.rmtree(self.data_dir if keep_log else self.directory, ignore_errors=True)

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_SHOWN_LOG_LINES:]) or "(its log is empty)"
