"""Urgent work first: while a read, or a batch of a quiet workspace, is under way, bulk ingest pauses.

A read waits several times for the event loop, the interpreter and PostgreSQL, and a small commit for all that
PostgreSQL has to sync. Where processors or disks are busy with hundreds of streams and with groups of a hundred
thousand points, each of these waits is long. In a pause, the streams of workspaces with many points in the queue are
not read, and writers begin no large group. Nothing is lost by that: points wait with their clients (HTTP/2 flow
control), and the next groups are larger.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

# The longest pause. After each one, bulk ingest goes on for at least as long: so it has half of the time, however much
# is urgent. Its clients hardly notice 50 ms: they have several batches under way.
LONGEST_PAUSE_S = 0.05
# Work that takes longer is not urgent any more. An export of a whole history takes minutes.
URGENT_FOR_S = 0.25
# How many that have waited go on per iteration of the event loop. If two hundred streams had their messages decoded in
# one, the next urgent work would wait for the loop.
_AT_ONCE = 4


class UrgentWork:
    """Knows what is urgent and under way, and lets bulk work wait for it. Belongs to one event loop."""

    def __init__(
        self, *, on_pause: Callable[[float], None] = lambda _seconds: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`on_pause` gets the seconds of each pause in which bulk work waited."""
        self._on_pause = on_pause
        self._clock = clock
        self._urgent_until: dict[object, float] = {}  # by work, the first one ends first
        self._paused_at: float | None = None
        self._free_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._has_waited = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_releasing = False

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """A block that is urgent work."""
        work = object()
        self.begin(work)
        try:
            yield
        finally:
            self.end(work)

    def begin(self, work: object) -> None:
        """This is urgent, from now on until `end`."""
        self._urgent_until[work] = self._clock() + URGENT_FOR_S
        self._update()

    def end(self, work: object) -> None:
        """It is done."""
        if self._urgent_until.pop(work, None) is not None:
            self._update()

    @property
    def bulk_is_paused(self) -> bool:
        """Whether bulk work has to wait now."""
        if self._urgent_until or self._paused_at is not None:
            self._update()
        return self._paused_at is not None

    @property
    def is_under_way(self) -> bool:
        """Whether there is any, also while bulk work goes on."""
        if self._urgent_until:
            self._update()
        return bool(self._urgent_until)

    async def wait_while_paused(self) -> None:
        """Wait until bulk work may go on."""
        if not self.bulk_is_paused:
            return
        self._has_waited = True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._timer is None:
            self._set_timer()
        await turn

    def _update(self) -> None:
        """Begin or end the pause."""
        now = self._clock()
        while self._urgent_until and self._urgent_until[work := next(iter(self._urgent_until))] <= now:
            del self._urgent_until[work]
        if self._paused_at is None:
            if self._urgent_until and now >= self._free_until:
                self._paused_at = now
        elif not self._urgent_until or now >= self._paused_at + LONGEST_PAUSE_S:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        assert self._paused_at is not None
        pause_s = min(now - self._paused_at, LONGEST_PAUSE_S)
        self._paused_at, self._free_until = None, now + pause_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._has_waited:
            self._has_waited = False
            self._on_pause(pause_s)
        if not self._is_releasing:
            self._release()

    def _release(self) -> None:
        """Let some go on, and the others in the next iterations."""
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():  # it was cancelled
                turn.set_result(None)
        self._is_releasing = bool(self._waiting)
        if self._is_releasing:
            asyncio.get_running_loop().call_soon(self._release)

    def _set_timer(self) -> None:
        assert self._paused_at is not None
        left_s = self._paused_at + LONGEST_PAUSE_S - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, left_s), self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._update()
        if self._paused_at is not None:
            self._set_timer()
