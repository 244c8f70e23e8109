"""New points of one run, for all pages that show it."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING

import structlog

from runstream_service.errors.core import CursorTooOld, InvalidField, NotFound, Retryable
from runstream_service.query.reading.read_transaction import compute
from runstream_service.query.tail.tail import TailQuery
from runstream_service.web.live.subscription import Event, Subscription
from runstream_service.web.live.summary import encode_points

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.series import Series
    from runstream_service.query.tail.commit_reader import SeriesPoints
    from runstream_service.query.tail.cursor import Cursor
    from runstream_service.query.tail.tail import Tail

log = structlog.get_logger()

# Events that are kept for pages that reconnect: half a minute, if the events are small.
_KEPT_EVENTS, _KEPT_BYTES = 120, 4 << 20
# Above this many points that wait for the next flush, the tail waits; if it falls behind, it catches up with reads of
# its own. A point takes 24 bytes.
_MAX_PENDING_POINTS = 500_000
_RETRY_S = 1.0


class Feed:
    """Follows one run, while `run` runs in a task. Points arrive from the tail at any time; `flush` sends them to
    pages."""

    def __init__(self, tail: Tail, caller: Caller, run_id: str, start: bytes = b"") -> None:
        """`start` is the cursor of a page that reconnects; if it is empty, the feed begins with the next point."""
        self.run_id = run_id
        self.subscriptions: set[Subscription] = set()
        self.cursor = start  # everything up to here was flushed
        # Whether a new page may join. A feed that begins at an older cursor sends points that a new page has already.
        self.is_current = not start
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tail = tail
        self._caller = caller
        self._received = start
        self._pending: list[tuple[Series, SeriesPoints]] = []
        self._pending_points = 0
        self._room = asyncio.Event()
        # The last flushes: the cursor before each, and its event (None if the tail moved on without new points).
        self._kept: collections.deque[tuple[bytes, Event | None]] = collections.deque()
        self._kept_bytes = 0

    async def run(self) -> None:
        """Follows the run until cancelled, or until the run is purged. Restarts the tail when that fails."""
        while await self._follow():
            pass

    async def _follow(self) -> bool:
        """Follows the run until the tail ends; returns whether to start it again."""
        try:
            await self._tail.read(self._caller, TailQuery(run_id=self.run_id, cursor=self._received), self._take)
        except (CursorTooOld, InvalidField):
            if not self._received:
                raise
            self._forget()
            return True
        except (NotFound, Retryable) as error:
            if not self.started.done():
                self.started.set_exception(error)
                self.started.exception()  # marks it as retrieved, in case the page that waited for it has gone
                return False
            if isinstance(error, NotFound):  # the run was purged; hub.py informs the pages
                return False
            await asyncio.sleep(_RETRY_S)
            return True
        raise AssertionError("a tail ends with an error")

    def _forget(self) -> None:
        """The tail cannot continue from its cursor, so pages have to read everything again."""
        self._received = self.cursor = b""
        self.is_current = True
        self._pending, self._pending_points = [], 0
        self._kept.clear()
        self._kept_bytes = 0
        for subscription in self.subscriptions:
            subscription.cursors.pop(self.run_id, None)
            subscription.reset()

    async def _take(self, entries: list[tuple[Series, SeriesPoints]], cursor: Cursor) -> None:
        self._pending += entries
        self._pending_points += sum(len(points) for _, points in entries)
        self._received = cursor.encode()
        if not self.started.done():
            self.cursor = self.cursor or self._received
            self.started.set_result(None)
        while self._pending_points > _MAX_PENDING_POINTS:
            self._room.clear()
            await self._room.wait()

    async def flush(self) -> None:
        """Sends the points that arrived since the last flush to all pages, as one event."""
        if not self._pending:
            if self._received != self.cursor:
                self._keep(self._received, None)
                for subscription in self.subscriptions:
                    subscription.move(self.run_id, self.cursor)
            return
        pending, points, cursor = self._pending, self._pending_points, self._received
        self._pending, self._pending_points = [], 0
        self._room.set()
        data = await compute(points, encode_points, self.run_id, pending)
        event = Event(b"event: points\ndata: " + data + b"\n", self.run_id, cursor)
        self._keep(cursor, event)
        for subscription in self.subscriptions:
            subscription.put(event)

    def _keep(self, cursor: bytes, event: Event | None) -> None:
        self._kept.append((self.cursor, event))
        self._kept_bytes += len(event.data) if event else 0
        self.cursor = cursor
        while len(self._kept) > _KEPT_EVENTS or self._kept_bytes > _KEPT_BYTES:
            _, oldest = self._kept.popleft()
            self._kept_bytes -= len(oldest.data) if oldest else 0

    # -- pages -------------------------------------------------------------------------------------------------------

    def since(self, cursor: bytes) -> list[Event] | None:
        """The events after a cursor; None if they are not kept any more, or if this feed never had that cursor."""
        if cursor == self.cursor:
            return []
        for place, (before, _) in enumerate(self._kept):
            if before == cursor:
                return [event for _, event in list(self._kept)[place:] if event is not None]
        return None

    def join(self, subscription: Subscription, missed: list[Event]) -> None:
        """Sends a page the events that it has missed, and from now on those of this feed."""
        for event in missed:
            subscription.put(event)
        subscription.move(self.run_id, self.cursor)
        self.subscriptions.add(subscription)
