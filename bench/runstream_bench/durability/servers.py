"""The server of a tracker, its database and the way to it: started, killed with -9, started again on the same port."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runstream_bench.server_process import ServerProcess
from runstream_service.database.embedded import EmbeddedPostgres

_STOP_S = 15.0


@dataclass(slots=True)
class Stack:
    """What a tracker consists of besides its client. `address` is what the client connects to."""

    address: str
    server: ServerProcess | None = None
    database: EmbeddedPostgres | None = None
    directory: str = ""  # the repository of a tracker whose points are read from files
    environment: dict[str, str] = field(default_factory=dict)  # variables of the client
    reading: dict[str, str] = field(default_factory=dict)  # more variables while points are read

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self.address.partition("?")[0].rpartition(":")[2].strip("/"))

    def through(self, port: int) -> str:
        """The address with another port."""
        return self.address.replace(f":{self.port}", f":{port}", 1)

    async def start(self) -> None:
        """Starts the server; the database already runs."""
        if self.server is not None:
            await self.server.start_async()

    async def kill_database(self) -> None:
        """kill -9 of PostgreSQL's first process: the others end when they notice it."""
        assert self.database is not None
        assert self.database.pid is not None
        os.kill(self.database.pid, signal.SIGKILL)

    async def restart_database(self) -> None:
        """Starts PostgreSQL again, which replays its log. Returns when it answers."""
        assert self.database is not None
        await self.database.stop()
        await self.database.start()

    async def stop(self) -> None:
        """Stops the server and the database."""
        if self.server is not None:
            await self.server.stop_async()
        if self.database is not None:
            await self.database.stop()


def server_of(command: Sequence[str], variables: Mapping[str, str], directory: Path, ready_url: str) -> ServerProcess:
    """A server and all its processes, which has its files in a directory."""
    return ServerProcess(
        command,
        directory / "server.log",
        ready_url=ready_url,
        environment=variables,
        directory=directory,
        own_group=True,
        stop_s=_STOP_S,
    )


async def postgres(directory: Path) -> EmbeddedPostgres:
    """A fresh PostgreSQL, with fsync."""
    place = directory / "database"
    place.mkdir(mode=0o755)
    one = EmbeddedPostgres(place)
    await one.start()
    return one
