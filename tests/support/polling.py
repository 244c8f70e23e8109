"""Waiting, with a deadline, for something that another task or process does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], *, timeout_s: float = 60) -> None:
    """Returns when the condition holds; raises if it does not in time."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"it did not come about within {timeout_s:g} s"
        await asyncio.sleep(0.01)


def until_now(condition: Callable[[], object], *, timeout_s: float = 60) -> None:
    """Polls like `until`, without an event loop."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"it did not come about within {timeout_s:g} s"
        time.sleep(0.01)
