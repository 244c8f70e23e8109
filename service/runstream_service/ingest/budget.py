"""How many points may wait between the streams and the database."""

from __future__ import annotations

import asyncio
from collections import deque

# How many waiting takers to wake per iteration of the event loop. If two hundred streams woke up at once, the loop
# could not feed a COPY for about 20 ms (measured: the COPY then took three times as long).
_TURNS_AT_ONCE = 8


class Budget:
    """A bound on waiting points. When it is used up, takers wait in line, so streams are not read any more and HTTP/2
    flow control stops their clients. The line is served in order, and a stream has at most one taker in it, so a busy
    stream cannot push the others aside."""

    def __init__(self, capacity_points: int) -> None:
        self.capacity_points = capacity_points
        self.waiting_points = 0
        self._line: deque[tuple[asyncio.Future[None], int]] = deque()
        self._serving = False

    def take_at_once(self, points: int) -> bool:
        """Take `points` if they fit now and nobody waits; returns whether they did."""
        if self._line or not self._fits(points):
            return False
        self.waiting_points += points
        return True

    async def take(self, points: int) -> None:
        """Take `points`, waiting until they fit. More than the whole capacity fits into a budget that is unused."""
        if self.take_at_once(points):
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((turn, points))
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled after its turn came: the points must be given back, or the budget shrinks forever.
            if turn.done() and not turn.cancelled():
                self.give_back(points)
            raise

    def give_back(self, points: int) -> None:
        """Return points that are committed, refused or dropped."""
        self.waiting_points -= points
        if self._line:
            self._serve_soon()

    def _serve_soon(self) -> None:
        if not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """Serve the line from its head, as far as the points fit."""
        self._serving = False
        turns = 0
        while self._line and turns < _TURNS_AT_ONCE:
            turn, wanted = self._line[0]
            if not turn.cancelled():
                if not self._fits(wanted):
                    return
                self.waiting_points += wanted
                turn.set_result(None)
                turns += 1
            self._line.popleft()
        if self._line:
            self._serve_soon()

    def _fits(self, points: int) -> bool:
        return self.waiting_points + points <= self.capacity_points or self.waiting_points == 0
