"""Turns on the event loop: workspaces take them one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runstream_service.sharing.fair_queue import FairQueue

# How many messages are handled per iteration of the event loop: each takes some tenths of a millisecond.
_AT_ONCE = 4


class LoopTurns:
    """Bounds how many messages are handled per iteration of the event loop.

    Otherwise hundreds of streams whose messages arrive together would block the loop for tens of milliseconds, several
    times between the arrival of a batch and its ack. As soon as there are several workspaces, only a few messages are
    handled per iteration, and workspaces take turns. With a single workspace, no stream waits, unless `any_urgent` says
    that urgent work is under way (urgent.py).
    """

    def __init__(self, any_urgent: Callable[[], bool] = lambda: False) -> None:
        self._any_urgent = any_urgent
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(lambda _workspace_id: 0)
        self._first: int | None = None
        self._is_shared = False
        self._left = _AT_ONCE
        self._scheduled = False

    def try_take(self, workspace_id: int) -> bool:
        """Take a turn if no one has to wait for one now. Returns whether it took one."""
        if not self._is_shared:
            if self._first is None:
                self._first = workspace_id
            self._is_shared = workspace_id != self._first
            if not self._any_urgent():
                return True
        if self._queue or not self._left:
            return False
        self._left -= 1
        self._next_iteration()
        return True

    async def wait(self, workspace_id: int) -> None:
        """Wait for a turn of a workspace, and take it."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.join(workspace_id, turn)
        self._next_iteration()
        try:
            await turn
        finally:
            self._queue.leave(workspace_id, turn)

    def _next_iteration(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._grant)

    def _grant(self) -> None:
        self._scheduled = False
        self._left = _AT_ONCE
        while self._left and (first := self._queue.next()) is not None:
            self._queue.had_turn(*first)
            if not first[1].done():
                first[1].set_result(None)
                self._left -= 1
        if self._queue:
            self._next_iteration()
