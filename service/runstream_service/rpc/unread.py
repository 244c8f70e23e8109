"""Ends streams whose clients do not read. While the flow-control window of a stream is full, gRPC holds its messages
back without a time limit. Keepalive does not notice that, since the connection is up: for example while the client is
stopped in a debugger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runstream_service.errors.core import ClientStalled

# How long a client may take to read one message.
WRITE_TIMEOUT_S = 120.0


def stalled(within_s: float) -> ClientStalled:
    """The error of a stream whose client has read no message for `within_s` seconds."""
    return ClientStalled(f"the client has read nothing of this stream for {within_s:g} s; open it again")


class WriteTimeout:
    """A context manager around each write of a message to a client: calls `end` if the write takes longer than
    `within_s` seconds. It has to be cheap (about a microsecond), since each acknowledgement is written inside one."""

    __slots__ = ("_end", "_loop", "_timer", "_within_s")

    def __init__(self, end: Callable[[ClientStalled], None], within_s: float = WRITE_TIMEOUT_S) -> None:
        self._end = end
        self._within_s = within_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._within_s, self._expired)

    def __exit__(self, *_: object) -> None:
        assert self._timer is not None
        self._timer.cancel()

    def _expired(self) -> None:
        self._end(stalled(self._within_s))
