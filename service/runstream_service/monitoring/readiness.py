"""Whether this replica can serve, computed from named checks. `/readyz` and grpc.health.v1 both report this."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from runstream_service.database.pool import Database
from runstream_service.errors.core import CoreError
from runstream_service.monitoring.metrics import Metrics

log = structlog.get_logger()

DATABASE, MIGRATIONS, SHUTDOWN = "database", "migrations", "shutdown"

PING_EVERY_S = 2.0
# While the database does not answer, so that its recovery is noticed within a second.
PING_EVERY_WHILE_DOWN_S = 0.5
PING_TIMEOUT_S = 2.0

Listener = Callable[[bool], Awaitable[None]]


class Readiness:
    """The checks that fail now, each with its reason. At the start, DATABASE and MIGRATIONS fail. `alive` is liveness,
    as Kubernetes means it: false says that only a restart helps."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {DATABASE: "not connected yet", MIGRATIONS: "not applied yet"}
        self._listeners: list[Listener] = []
        self.alive = True
        self._liveness_listeners: list[Listener] = []

    @property
    def problems(self) -> dict[str, str]:
        """The reasons of failing checks, by the name of the check."""
        return dict(self._problems)

    @property
    def ready(self) -> bool:
        """Whether this replica can serve: no check fails."""
        return not self._problems

    async def listen(self, listener: Listener) -> None:
        """Calls the listener now, and at every change between ready and not ready."""
        self._listeners.append(listener)
        await listener(self.ready)

    async def passes(self, check: str) -> None:
        """Records that a check passes."""
        await self._set({name: why for name, why in self._problems.items() if name != check})

    async def fails(self, check: str, why: str) -> None:
        """Records that a check fails."""
        await self._set({**self._problems, check: why})

    async def listen_to_liveness(self, listener: Listener) -> None:
        """Calls the listener with `alive` now, and whenever it changes."""
        self._liveness_listeners.append(listener)
        await listener(self.alive)

    async def set_alive(self, alive: bool) -> None:
        """Sets `alive`, and calls the listeners if it has changed."""
        if alive != self.alive:
            self.alive = alive
            for listener in self._liveness_listeners:
                await listener(alive)

    async def _set(self, problems: dict[str, str]) -> None:
        was_ready, self._problems = self.ready, problems
        if self.ready != was_ready:
            for listener in self._listeners:
                await listener(self.ready)


async def watch_database(database: Database, readiness: Readiness, metrics: Metrics) -> None:
    """Pings PostgreSQL every two seconds, and reports it as a check of `readiness`. Runs until cancelled."""
    up = True
    while True:
        try:
            await database.ping(timeout_s=PING_TIMEOUT_S)
            problem = ""
        except Exception as error:  # any exception means that it does not answer
            problem = error.message if isinstance(error, CoreError) else f"{type(error).__name__}: {error}"
        metrics.database_answers(not problem)
        if problem:
            await readiness.fails(DATABASE, problem)
        else:
            await readiness.passes(DATABASE)
        if up and problem:
            log.error("The database does not answer", action="database_lost", error=problem)
        elif not up and not problem:
            log.info("The database answers again", action="database_back")
        up = not problem
        await asyncio.sleep(PING_EVERY_S if up else PING_EVERY_WHILE_DOWN_S)
