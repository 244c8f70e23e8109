"""Waiting, with a deadline, for something that another task or process does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.2
# A question that takes longer, such as a read of /metrics, is asked less often: waiting is not to load the machine.
_PAUSE_PER_QUESTION = 4


async def until(condition: Callable[[], object], *, timeout_s: float = 60) -> None:
    """Returns when the condition holds; raises if it does not in time."""
    for pause_s in _pauses(condition, timeout_s):
        await asyncio.sleep(pause_s)


def until_now(condition: Callable[[], object], *, timeout_s: float = 60) -> None:
    """Polls like `until`, without an event loop."""
    for pause_s in _pauses(condition, timeout_s):
        time.sleep(pause_s)


def _pauses(condition: Callable[[], object], timeout_s: float) -> Iterator[float]:
    """Ends when the condition holds."""
    give_up = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        if condition():
            return
        answered = time.monotonic()
        assert answered < give_up, f"it did not come about within {timeout_s:g} s"
        yield min(max(_PAUSE_S, _PAUSE_PER_QUESTION * (answered - asked)), _LONGEST_PAUSE_S)
