"""Servers in processes of their own, for benchmarks and tests: started, awaited, stopped, killed, started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from runstream_bench import http_client

COMMAND = (sys.executable, "-m", "runstream_service")  # as `runstream`
START_S = 120.0  # a first start compiles modules, and may replay the log of a database
_STOP_S = 60.0
_CHECK_EVERY_S = 0.02
_ANSWER_S = 2.0
_LAST_WORDS = 3_000  # characters of a log that are part of an error
# Below the ports that Linux gives to connections: otherwise a client that tries to reach a server which is away would
# connect to itself now and then, and a connection of another program could have the port when the server comes back.
_PORTS = range(20_000, 32_000)


class ServerProcess:
    """A server that is ready when `ready_url` answers with 200. What it prints is appended to `log`.

    `own_group`: it leads a process group, and signals go to all processes in that group, as when a container is killed.
    `stop_s`: how long `stop` waits before it kills.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        ready_url: str,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        own_group: bool = False,
        stop_s: float = _STOP_S,
    ) -> None:
        self.command = list(command)
        self.log = log
        self.ready_url = ready_url
        self._environment = None if environment is None else dict(environment)
        self._directory = directory
        self._own_group = own_group
        self._stop_s = stop_s
        self._process: subprocess.Popen[str] | None = None

    # -- its life; what waits holds up the thread --------------------------------------------------------------------

    def start(self, *, timeout_s: float = START_S) -> None:
        """Returns when it is ready. Raises RuntimeError, with the end of its log, if it does not get ready."""
        self._launch()
        for _ in self._until_ready(timeout_s):
            time.sleep(_CHECK_EVERY_S)

    def terminate(self, *, timeout_s: float = 90) -> int:
        """Sends SIGTERM and returns the exit code. Raises subprocess.TimeoutExpired."""
        self._send(signal.SIGTERM)
        return self.wait(timeout_s=timeout_s)

    def kill(self) -> None:
        """kill -9; returns when it has ended."""
        self._send(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """SIGTERM, and kill -9 if it has not ended in time. Does nothing if it was never started."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.terminate(timeout_s=self._stop_s)
        if self.is_running or self._own_group:
            self.kill()

    def wait(self, *, timeout_s: float = 90) -> int:
        """Waits for the end; returns the exit code. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops the process (SIGSTOP) during the block; whatever is sent to it waits."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    # -- the same in an event loop -----------------------------------------------------------------------------------

    async def start_async(self, *, timeout_s: float = START_S) -> None:
        """As `start`. Its questions whether the server answers are short calls in threads, of which there are few."""
        self._launch()  # at once, so that a caller that is cancelled from now on knows what to stop
        steps = self._until_ready(timeout_s)
        while await asyncio.to_thread(next, steps, "ready") != "ready":  # noqa: ASYNC110 - of another process
            await asyncio.sleep(_CHECK_EVERY_S)

    async def stop_async(self) -> None:
        """As `stop`."""
        if self._process is None:
            return
        self._send(signal.SIGTERM)
        if not await ends_within(self._process, self._stop_s) or self._own_group:
            await self.kill_async()
        self.wait()

    async def kill_async(self) -> None:
        """As `kill`."""
        assert self._process is not None
        self._send(signal.SIGKILL)
        await ends_within(self._process, _STOP_S)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts it, and stops it afterwards."""
        try:
            await self.start_async()
            yield
        finally:
            await self.stop_async()

    # -- what can be seen of it --------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None
        return self._process.pid

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the server, without its children. Raises psutil.NoSuchProcess."""
        return int(psutil.Process(self.pid).memory_info().rss)

    # -- how it starts -----------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = self._popen(self._command(), {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log})

    def _command(self) -> list[str]:
        return self.command

    def _popen(self, command: Sequence[str], files: Mapping[str, Any]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - a command of the benchmark
            command,
            cwd=self._directory,
            env=self._environment,
            text=True,
            start_new_session=self._own_group,
            **files,
        )

    def _until_ready(self, timeout_s: float) -> Iterator[None]:
        """Yields as long as it is not ready."""
        give_up = time.monotonic() + timeout_s
        while not self._is_ready():
            if not self.is_running or time.monotonic() > give_up:
                self.stop()
                words = self.log.read_text(errors="replace")[-_LAST_WORDS:]
                raise RuntimeError(f"{' '.join(self.command[:4])} did not get ready:\n{words}")
            yield

    def _is_ready(self) -> bool:
        try:
            return http_client.get(self.ready_url, timeout_s=_ANSWER_S).status == 200
        except (OSError, HTTPException):
            return False

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._own_group:
            # The other processes of the group may outlive the first one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)


class RunstreamProcess(ServerProcess):
    """`runstream serve`, which says with a line of JSON that it is ready. A restart keeps the ports, so that clients
    find it again. `command`: what runs in place of the command `runstream`."""

    def __init__(
        self,
        log: Path,
        *arguments: str,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
        stop_s: float = _STOP_S,
    ) -> None:
        super().__init__([*command, "serve"], log, ready_url="", environment=environment, stop_s=stop_s)
        self._arguments = list(arguments)
        self.grpc_address = "127.0.0.1:0"
        self.http_url = "http://127.0.0.1:0"
        self.monitoring_url = self.http_url

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
            self._process = self._popen(self._command(), files)

    def _command(self) -> list[str]:
        listening = ["--grpc-listen", self.grpc_address, "--http-listen", urlsplit(self.http_url).netloc]
        return [*self.command, "--json-ready", "--log-format", "json", *listening, *self._arguments]

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        looking = select.poll()  # not select(), which knows of a thousand open files alone
        looking.register(self._process.stdout, select.POLLIN)
        if not looking.poll(0) or not (line := self._process.stdout.readline()):
            return False
        ready = json.loads(line)
        self.grpc_address, self.http_url = ready["grpc"].removeprefix("grpcs://"), ready["http"]
        self.monitoring_url = ready.get("monitoring", self.http_url)
        return True


async def ends_within(process: subprocess.Popen[Any], seconds: float) -> bool:
    """Whether it ends within that time. Looks again and again: threads that wait would use up the few there are."""
    give_up = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(_CHECK_EVERY_S)
    return True


def free_port() -> int:
    """A port that nobody listens on, for a server that cannot take any port and say which."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
