"""Time limits of calls and of their steps. docs/deadlines.md lists all limits."""

from __future__ import annotations

import time
from asyncio import timeout
from collections.abc import Awaitable
from typing import TypeVar

from runstream_service.errors.core import DatabaseUnavailable

T = TypeVar("T")

# The limit of a call with one answer, over gRPC or MLflow's routes. Each statement has its own limit, but a call may
# consist of several. MLflow's clients give up after 120 s.
CALL_TIMEOUT_S = 100.0


class Deadline:
    """The time `within_s` seconds from now, by the monotonic clock."""

    def __init__(self, within_s: float) -> None:
        self._at = time.monotonic() + within_s

    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._at - time.monotonic())

    def share(self, part: float) -> float:
        """The fraction `part` (0 to 1) of the seconds that are left, for one step of the work."""
        return self.left_s() * part


async def with_timeout(work: Awaitable[T], timeout_s: float) -> T:
    """The result of `work`, which is cancelled after `timeout_s` seconds.

    Use this instead of asyncio.wait_for, which until Python 3.11 loses a cancellation that comes just when the work is
    done: a task that waits in a loop then runs forever, and so does everything that waits for its end.

    Raises:
        TimeoutError: the time is up.
    """
    async with timeout(timeout_s):
        return await work


async def with_call_timeout(work: Awaitable[T], timeout_s: float = CALL_TIMEOUT_S) -> T:
    """The result of `work`, which is a whole call of a client; cancelled after `timeout_s` seconds.

    Raises:
        DatabaseUnavailable: the time is up. Whether the call had an effect is unknown.
    """
    try:
        return await with_timeout(work, timeout_s)
    except TimeoutError as error:
        raise DatabaseUnavailable(f"the call was not answered within {timeout_s:g} s") from error
