"""Ending tasks: a task that continues although it was cancelled fails its test, with a message where the task is."""

from __future__ import annotations

import asyncio
import io
from typing import Any


async def end(*tasks: asyncio.Task[Any], within_s: float = 20) -> list[BaseException | None]:
    """Cancels tasks and waits for their end; returns what each of them raised."""
    for task in tasks:
        task.cancel()
    _, going_on = await asyncio.wait(tasks, timeout=within_s)
    assert not going_on, f"cancelled {within_s:g} s ago, and still there:\n" + "\n".join(map(_stack, going_on))
    return [asyncio.CancelledError() if task.cancelled() else task.exception() for task in tasks]


def _stack(task: asyncio.Task[Any]) -> str:
    text = io.StringIO()
    task.print_stack(file=text)
    return text.getvalue()
