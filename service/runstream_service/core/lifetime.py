"""How long a stream may last, so that clients spread over all replicas again after some were added.

A stream would stay with its replica as long as its job runs; new replicas would have nothing to do for days. So a
stream that is old enough is asked to reconnect elsewhere, as by a replica that shuts down.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator

from runstream_service.core.errors import Draining

# Streams that began together, when a job did or a replica went, must not all come back in one moment.
_SHORTEST, _LONGEST = 0.9, 1.1
# gRPC has a maximum age of connections, with jitter of its own (a tenth both ways). It closes none with a stream on it,
# but new streams go to a new connection. It has to come first: a client of any kind that opens its stream again is then
# not on the old connection for another round.
_CONNECTION = 0.8


class Lifetime:
    """About `seconds`; 0: no limit."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    @contextlib.contextmanager
    def of(self, end: Callable[[Draining], None]) -> Iterator[None]:
        """Ends a stream, by calling `end`, that lasts longer than this block may."""
        if not self._seconds:
            yield
            return
        over = Draining(
            "the stream is as old as this replica lets it be (--max-connection-age); reconnect", retry_after_s=0.1
        )
        after_s = self._seconds * random.uniform(_SHORTEST, _LONGEST)
        timer = asyncio.get_running_loop().call_later(after_s, end, over)
        try:
            yield
        finally:
            timer.cancel()

    def grpc_options(self) -> tuple[tuple[str, int], ...]:
        """What the server has to be told of connections."""
        return (("grpc.max_connection_age_ms", round(self._seconds * _CONNECTION * 1_000)),) if self._seconds else ()
