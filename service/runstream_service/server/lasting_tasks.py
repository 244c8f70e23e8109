"""Tasks that run as long as their process: if one of them ends earlier, the process has to end, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

# They end within milliseconds, but a library may lose the cancellation. What is stopped after them must not wait.
_END_WITHIN_S = 5.0


class LastingTasks:
    """Named tasks, in the order in which they were started."""

    def __init__(self, *, end_within_s: float = _END_WITHIN_S) -> None:
        self._end_within_s = end_within_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task."""
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        return task

    @property
    def all(self) -> list[asyncio.Task[None]]:
        """The tasks, to wait for the first that ends."""
        return list(self._tasks.values())

    def report_ended(self) -> bool:
        """Log each task that has ended, and why; returns whether there are any."""
        ended = [(name, task) for name, task in self._tasks.items() if task.done()]
        for name, task in ended:
            error = None if task.cancelled() else task.exception()
            log.critical(f"The {name} ended unexpectedly", action="service_failed", task=name, exc_info=error)
        return bool(ended)

    async def cancel(self) -> None:
        """End all tasks, one after the other."""
        for name, task in self._tasks.items():
            task.cancel()
            _, going_on = await asyncio.wait([task], timeout=self._end_within_s)
            if going_on:
                log.error(f"The {name} goes on although it was cancelled", action="shutdown_step_failed", step=name)
            elif not task.cancelled():
                task.exception()  # logged by report_ended; otherwise asyncio would report it again


async def unless(stopped: asyncio.Event, work: Awaitable[None]) -> bool:
    """Does some work, but cancels it when the event is set; returns whether it was done."""
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
