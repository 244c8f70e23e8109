"""A semaphore whose slots go to workspaces in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.errors.core import Overloaded
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.current import current_workspace
from runstream_service.sharing.fair_queue import FairQueue


class NoSlot(Overloaded):
    """No slot became free in time, or too many callers wait."""


class FairSlots:
    """At most `slots` callers hold a slot at a time; others wait, in the order of FairQueue. Used by one event loop.

    At most `max_waiting` wait. If that many do, a caller of a workspace with few waiters replaces the one that has
    waited least of the workspace with most waiters, which gets NoSlot.
    """

    def __init__(self, what: str, slots: int, *, max_waiting: int = 2**62) -> None:
        """`what`: what holds a slot, in the plural, for error messages."""
        self._what = what
        self._slots = SharedCapacity(slots)
        self._max_waiting = max_waiting
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(self._slots.held_by)

    def resize(self, slots: int) -> None:
        """Change the number of slots. Slots that are taken stay taken."""
        self._slots.capacity = slots

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def slot(self, *, wait_s: float | None = None) -> AsyncIterator[None]:
        """Hold a slot until the end of the block, for the workspace of the current task. Raises NoSlot if none becomes
        free within `wait_s` (None: wait without a limit), or if too many wait."""
        workspace_id = current_workspace()
        await self._acquire(workspace_id, wait_s)
        try:
            yield
        finally:
            self._release(workspace_id)

    async def _acquire(self, workspace_id: int, wait_s: float | None) -> None:
        if self._any_free and not len(self._queue):
            self._slots.take(workspace_id, 1)
            return
        turn = self._join(workspace_id)
        try:
            await (turn if wait_s is None else with_timeout(turn, wait_s))
        except BaseException as error:
            self._queue.leave(workspace_id, turn)
            if _was_granted(turn):  # it was cancelled, or the time was over, just after its turn came
                self._release(workspace_id)
            if isinstance(error, TimeoutError):
                raise NoSlot(
                    f"as many {self._what} as this replica allows were under way for {wait_s:g} s; nothing was done, "
                    "try again",
                    retry_after_s=2.0,
                ) from error
            raise

    def _join(self, workspace_id: int) -> asyncio.Future[None]:
        if len(self._queue) >= self._max_waiting:
            self._make_room(workspace_id)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.join(workspace_id, turn)
        return turn

    def _make_room(self, workspace_id: int) -> None:
        error = NoSlot(
            f"{len(self._queue)} {self._what} wait for their turn already; nothing was done, try again",
            retry_after_s=2.0,
        )
        longest, length, last = self._queue.last_of_longest()
        if length <= self._queue.length_of(workspace_id) + 1:
            raise error
        self._queue.leave(longest, last)
        last.set_exception(error)

    def _release(self, workspace_id: int) -> None:
        self._slots.release(workspace_id)
        while self._any_free and (first := self._queue.next()) is not None:
            self._grant(*first)

    def _grant(self, workspace_id: int, turn: asyncio.Future[None]) -> None:
        self._queue.had_turn(workspace_id, turn)
        if not turn.done():
            self._slots.take(workspace_id, 1)
            turn.set_result(None)

    @property
    def _any_free(self) -> bool:
        return self._slots.held < self._slots.capacity


def _was_granted(turn: asyncio.Future[None]) -> bool:
    return turn.done() and not turn.cancelled() and turn.exception() is None
