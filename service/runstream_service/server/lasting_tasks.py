"""Tasks that run as long as their process: if one of them ends before, the process has to end, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

# A cancelled task ends within milliseconds, but a library may lose the cancellation; then the shutdown goes on without
# waiting any longer.
_END_WITHIN_S = 5.0


class LastingTasks:
    """Named tasks, in the order in which they were started."""

    def __init__(self, *, end_within_s: float = _END_WITHIN_S) -> None:
        self._end_within_s = end_within_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task. `name` is for the log, as in "The <name> ended unexpectedly"."""
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        return task

    @property
    def all(self) -> list[asyncio.Task[None]]:
        """The tasks; wait for the first that ends, then call `report_ended`."""
        return list(self._tasks.values())

    def report_ended(self) -> bool:
        """Logs each task that has ended, and why; returns whether there are any."""
        ended = [(name, task) for name, task in self._tasks.items() if task.done()]
        for name, task in ended:
            error = None if task.cancelled() else task.exception()
            log.critical(f"The {name} ended unexpectedly", action="service_failed", task=name, exc_info=error)
        return bool(ended)

    async def cancel(self) -> None:
        """Cancels all tasks, one after the other, and waits until each has ended."""
        for name, task in self._tasks.items():
            task.cancel()
            _, unfinished = await asyncio.wait([task], timeout=self._end_within_s)
            if unfinished:
                log.error(f"The {name} still runs although it was cancelled", action="shutdown_step_failed", step=name)
            elif not task.cancelled():
                task.exception()  # logged by report_ended; otherwise asyncio would report it again


async def unless(stopped: asyncio.Event, work: Awaitable[None]) -> bool:
    """Waits for `work`, but cancels it when `stopped` is set; returns whether it was finished. Raises what it
    raises."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        await task
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False
