"""What a client does not read: gRPC holds it back when the window of the stream is full, for as long as it stays so.
Keepalive says nothing of that: the connection is up, and somebody who was stopped in a debugger may come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from runstream_service.core.errors import ClientStalled

# For one message to be taken.
WRITE_TIMEOUT_S = 120.0


def stalled(within_s: float) -> ClientStalled:
    """The error of a stream whose client takes no message for so long."""
    return ClientStalled(f"nothing of this stream was read for {within_s:g} s; open it again")


@contextlib.contextmanager
def taken_in_time(end: Callable[[ClientStalled], None], within_s: float = WRITE_TIMEOUT_S) -> Iterator[None]:
    """Ends a stream, by calling `end`, that writes to its client for longer than this. Costs a microsecond, as each
    acknowledgement is written in it."""
    timer = asyncio.get_running_loop().call_later(within_s, end, stalled(within_s))
    try:
        yield
    finally:
        timer.cancel()
