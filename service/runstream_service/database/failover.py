"""Connects to the server that takes writes, among those that a URL names."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from runstream_service.concurrency.deadlines import Deadline
from runstream_service.database import tls
from runstream_service.database.connections import CONNECT_TIMEOUT_S
from runstream_service.database.database_url import DatabaseUrl, Server

C = TypeVar("C", bound=asyncpg.Connection)

# If a server has not answered after this time, the next one is tried in parallel. A server whose machine is dead does
# not answer at all.
NEXT_SERVER_AFTER_S = 0.5


class Servers:
    """The servers of one URL. The one that took writes the last time is tried first."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._servers: list[Server | None] = [*url.servers] or [None]

    async def connect(self, application_name: str, kind: type[C], *, answer_timeout_s: float) -> C:
        """A connection to the first server that answers and takes writes, within 10 s. Its statements wait at most
        `answer_timeout_s` for an answer.

        A standby is never used, nor a server whose transactions are read-only by default.

        Raises:
            TimeoutError, OSError, asyncpg.PostgresError: the most informative error of all servers.
            asyncpg.TargetServerAttributeNotMatched: no server that answers takes writes.
        """

        async def connect_to(server: Server | None) -> C:
            return await asyncpg.connect(
                self._url.rest,
                host=server.host if server else None,
                port=server.port if server else None,
                target_session_attrs=SessionAttribute.read_write,
                server_settings={"application_name": application_name},
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=answer_timeout_s,
                connection_class=kind,
            )

        deadline = Deadline(CONNECT_TIMEOUT_S)
        waiting = list(self._servers)
        trying: dict[asyncio.Task[C], Server | None] = {}
        failures: list[BaseException] = []
        try:
            while waiting or trying:
                if waiting:
                    server = waiting.pop(0)
                    trying[asyncio.create_task(connect_to(server))] = server
                patience_s = min(NEXT_SERVER_AFTER_S, deadline.left_s()) if waiting else deadline.left_s()
                done, _ = await asyncio.wait(trying, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (error := task.exception()) is not None:
                        failures.append(error)
                        del trying[task]
                        continue
                    self._remember_primary(trying.pop(task))
                    return task.result()
                if not done and not waiting:
                    failures.append(TimeoutError())
                    break
            raise max(failures, key=_informativeness)
        finally:
            for task in trying:
                task.cancel()
                task.add_done_callback(_close_unwanted)

    def _remember_primary(self, server: Server | None) -> None:
        self._servers.sort(key=lambda other: other != server)  # stable: the others keep their order


def _informativeness(error: BaseException) -> int:
    """How much an error says about its cause: the error of a server says more than a server that does not respond."""
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return 1
    return 2 if isinstance(error, asyncpg.PostgresError) or tls.explain_failure(error) is not None else 0


def _close_unwanted(task: asyncio.Task[C]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()
