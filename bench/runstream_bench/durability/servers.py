"""The server of a tracker, its database and the way to it: started, killed with -9, started again on the same port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from runstream_bench import http_client
from runstream_service.database.embedded import EmbeddedPostgres

_START_SECONDS = 120.0
# Below the ports that Linux gives to connections: a client that tries to reach a server which is away would else
# connect to itself now and then, and a connection of others could have the port when the server comes back.
_PORTS = range(20_000, 32_000)


@dataclass(slots=True)
class Program:
    """A server and all its processes. `ready` is a URL that answers with 200 when it can be used."""

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    ready: str
    _process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - it begins at once; a server of trackers.py
                self.command, cwd=self.directory, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        give_up = time.monotonic() + _START_SECONDS
        while not await asyncio.to_thread(self._answers):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{self.command[0]} did not start:\n{self.last_words()}")
            await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """kill -9 of all its processes, as when a container is killed."""
        await self._end(signal.SIGKILL, 10)

    async def stop(self) -> None:
        """SIGTERM; -9 if that is not enough."""
        await self._end(signal.SIGTERM, 15)
        await self.kill()

    def last_words(self) -> str:
        """The end of its log."""
        return (self.directory / "server.log").read_text(errors="replace")[-2_000:]

    def _answers(self) -> bool:
        try:
            return http_client.get(self.ready, timeout_s=2).status == 200
        except (OSError, HTTPException):
            return False

    async def _end(self, number: signal.Signals, within_s: float) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        await is_over(self._process, within_s)


@dataclass(slots=True)
class Stack:
    """What a tracker consists of besides its client. `address` is what the client is told."""

    address: str
    server: Program | None = None
    database: EmbeddedPostgres | None = None
    directory: str = ""  # of the repository, for a tracker that is read from there
    environment: dict[str, str] = field(default_factory=dict)  # of the client
    reading: dict[str, str] = field(default_factory=dict)  # more of it while points are read

    @property
    def port(self) -> int:
        """Where clients connect to."""
        return int(self.address.partition("?")[0].rpartition(":")[2].strip("/"))

    def through(self, port: int) -> str:
        """The address with another port."""
        return self.address.replace(f":{self.port}", f":{port}", 1)

    async def start(self) -> None:
        """Database first."""
        if self.server is not None:
            await self.server.start()

    async def kill_database(self) -> None:
        """kill -9 of PostgreSQL's first process: the others end when they notice it."""
        assert self.database is not None
        assert self.database.pid is not None
        os.kill(self.database.pid, signal.SIGKILL)

    async def restart_database(self) -> None:
        """Replays its log. Returns when it answers."""
        assert self.database is not None
        await self.database.stop()
        await self.database.start()

    async def stop(self) -> None:
        """Everything."""
        if self.server is not None:
            await self.server.stop()
        if self.database is not None:
            await self.database.stop()


async def is_over(process: subprocess.Popen[bytes], within_s: float) -> bool:
    """Whether it ends within that time. Looks again and again: threads that wait would use up the few there are."""
    give_up = time.monotonic() + within_s
    while process.poll() is None:
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(0.03)
    return True


def free_port() -> int:
    """One that nobody listens on."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


async def postgres(directory: Path) -> EmbeddedPostgres:
    """A fresh one, with fsync."""
    place = directory / "database"
    place.mkdir(mode=0o755)
    one = EmbeddedPostgres(place)
    await one.start()
    return one
