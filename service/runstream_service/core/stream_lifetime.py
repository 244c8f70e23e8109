"""Ends streams that are too old, and those whose credentials have ended.

Without a limit of age, a stream would stay with its replica as long as its job runs, and replicas that were added would
have nothing to do for days. So an old stream ends in the same way as when its replica shuts down, and its client
reconnects to any replica.
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
# The age of connections in gRPC, as a part of that of streams. gRPC applies its own jitter (a tenth in both
# directions), and does not close a connection that has a stream, but new streams go to a new connection. It has to be
# lower than the age of streams, so that a client that opens its stream again gets a new connection.
_CONNECTION = 0.8

End = Callable[[CoreError], None]


def _unwatched(_caller: Caller, _end: End) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


class StreamLifetime:
    """Limits streams to about `seconds`; 0: no limit. `watching`: see Authenticator.watching."""

    def __init__(
        self,
        seconds: float = 0.0,
        *,
        watching: Callable[[Caller, End], AbstractContextManager[None]] = _unwatched,
    ) -> None:
        self._seconds = seconds
        self._watching = watching

    @contextlib.contextmanager
    def limit(self, caller: Caller, end: End) -> Iterator[None]:
        """For the block of a stream: calls `end` when it is too old, or when the caller's credentials end."""
        with self._watching(caller, end), self._aging(end):
            yield

    @contextlib.contextmanager
    def _aging(self, end: End) -> Iterator[None]:
        if not self._seconds:
            yield
            return
        over = Draining(
            "the stream has reached its maximum age (--max-connection-age), so that clients spread over all replicas; "
            "reconnect",
            retry_after_s=0.1,
        )
        after_s = self._seconds * random.uniform(_SHORTEST, _LONGEST)
        timer = asyncio.get_running_loop().call_later(after_s, end, over)
        try:
            yield
        finally:
            timer.cancel()

    def grpc_options(self) -> tuple[tuple[str, int], ...]:
        """The options of a gRPC server for the age of connections."""
        return (("grpc.max_connection_age_ms", round(self._seconds * _CONNECTION * 1_000)),) if self._seconds else ()
