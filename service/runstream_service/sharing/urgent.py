"""Urgent work first: while a read, or a batch of a quiet workspace, is under way, bulk ingest pauses.

A read waits several times for the event loop, the interpreter and PostgreSQL, and a small commit waits for everything
that PostgreSQL has to sync. If processors or disks are busy with hundreds of streams and with groups of a hundred
thousand points, each of these waits is long. During a pause, streams of workspaces with many points in the queue are
not read, and writers begin no large group. Nothing is lost: points wait at their clients (HTTP/2 flow control), and the
next groups are larger.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

# The longest pause. After each pause, bulk ingest continues for at least as long, so it has at least half of the time.
# Its clients hardly notice 50 ms, since they have several batches under way.
LONGEST_PAUSE_S = 0.05
# Work is urgent for at most this long: an export of a whole history takes minutes.
URGENT_FOR_S = 0.25
# How many waiters continue per iteration of the event loop. If two hundred streams had their messages decoded in one
# iteration, the next urgent work would wait for the loop.
_AT_ONCE = 4


class UrgentWork:
    """Knows which urgent work is under way, and makes bulk work wait for it. Used by one event loop."""

    def __init__(
        self, *, on_pause: Callable[[float], None] = lambda _seconds: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`on_pause` is called with the seconds of each pause in which bulk work waited."""
        self._on_pause = on_pause
        self._clock = clock
        self._urgent_until: dict[object, float] = {}  # for each work; the first entry ends first
        self._paused_at: float | None = None
        self._free_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._has_waited = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_releasing = False

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Make the block urgent work."""
        work = object()
        self.begin(work)
        try:
            yield
        finally:
            self.end(work)

    def begin(self, work: object) -> None:
        """Work is urgent from now on, until `end` is called with it."""
        self._urgent_until[work] = self._clock() + URGENT_FOR_S
        self._update()

    def end(self, work: object) -> None:
        """Urgent work is done."""
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
        """Whether there is urgent work, even if bulk work may continue."""
        if self._urgent_until:
            self._update()
        return bool(self._urgent_until)

    async def wait_while_paused(self) -> None:
        """Wait until bulk work may continue."""
        if not self.bulk_is_paused:
            return
        self._has_waited = True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._timer is None:
            self._set_timer()
        await turn

    def _update(self) -> None:
        """Begin or end a pause, according to the time and the urgent work."""
        now = self._clock()
        while self._urgent_until and self._urgent_until[work := next(iter(self._urgent_until))] <= now:
            del self._urgent_until[work]
        if self._paused_at is None:
            if self._urgent_until and now >= self._free_until:
                self._paused_at = now
        elif not self._urgent_until or now >= self._paused_at + LONGEST_PAUSE_S:
            self._end_pause(now)

    def _end_pause(self, now: float) -> None:
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
        """Let some waiters continue, and the others in the next iterations of the event loop."""
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
