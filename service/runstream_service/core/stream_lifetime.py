"""Ends streams that are too old, and those whose callers may not go on.

The age is limited so that clients spread over all replicas again after some were added.

A stream would stay with its replica as long as its job runs, and new replicas would have nothing to do for days. So an
old stream is ended in the same way as by a replica that shuts down: its client reconnects elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from runstream_service.core.caller import Caller
from runstream_service.errors.core import CoreError, Draining

# Jitter: streams that began together, when a job started or a replica ended, must not all reconnect at the same moment.
_SHORTEST, _LONGEST = 0.9, 1.1
# gRPC has a maximum age of connections, with its own jitter (a tenth in both directions). It does not close a
# connection that has a stream, but new streams go to a new connection. This age has to be lower, so that any client
# that opens its stream again does not use the old connection for another round.
_CONNECTION = 0.8

End = Callable[[CoreError], None]


def _nobody_watches(_caller: Caller, _end: End) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


class StreamLifetime:
    """Streams last about `seconds`; 0: no limit. `watching` is that of the Authenticator."""

    def __init__(
        self,
        seconds: float = 0.0,
        *,
        watching: Callable[[Caller, End], AbstractContextManager[None]] = _nobody_watches,
    ) -> None:
        self._seconds = seconds
        self._watching = watching

    @contextlib.contextmanager
    def limit(self, caller: Caller, end: End) -> Iterator[None]:
        """Calls `end` to end a stream of a caller if the block lasts longer than the stream may."""
        with self._watching(caller, end), self._aging(end):
            yield

    @contextlib.contextmanager
    def _aging(self, end: End) -> Iterator[None]:
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
        """The server's options for the age of connections."""
        return (("grpc.max_connection_age_ms", round(self._seconds * _CONNECTION * 1_000)),) if self._seconds else ()
