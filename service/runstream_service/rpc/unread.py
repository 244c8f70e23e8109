"""Ends streams whose clients do not read. gRPC holds messages back, without a limit of time, while the window of the
stream is full. Keepalive does not notice that: the connection is up, for example while a client is in a debugger."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from runstream_service.core.errors import ClientStalled

# How long a client may take to read one message.
WRITE_TIMEOUT_S = 120.0


def stalled(within_s: float) -> ClientStalled:
    """The error of a stream whose client has read no message for this long."""
    return ClientStalled(f"nothing of this stream was read for {within_s:g} s; open it again")


@contextlib.contextmanager
def taken_in_time(end: Callable[[ClientStalled], None], within_s: float = WRITE_TIMEOUT_S) -> Iterator[None]:
    """Calls `end` if the block, which writes one message to a client, takes longer than this. It must be cheap, about a
    microsecond, since each acknowledgement is written inside such a block."""
    timer = asyncio.get_running_loop().call_later(within_s, end, stalled(within_s))
    try:
        yield
    finally:
        timer.cancel()
