"""Keeps one gRPC channel per endpoint, replaced after a failure. (The channels of `Client` have to survive a fork as
well: see `runstream._channel`.)"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from runstream._dialing import Dialer
from runstream._endpoint import Endpoint


class Channels:
    """The channels of one transport. Code may use a channel only inside a block of `lease`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Endpoint, grpc.Channel] = {}
        self._users: Counter[grpc.Channel] = Counter()
        self._dialer = Dialer()
        self._replaced: set[grpc.Channel] = set()  # replaced by `replace` or left by `close`; the last user closes it

    @contextmanager
    def lease(self, endpoint: Endpoint) -> Iterator[grpc.Channel]:
        """Yields the channel to an endpoint, opened if need be. Raises CannotDial if a file for TLS cannot be used."""
        with self._lock:
            channel = self._open.get(endpoint)
            if channel is None:
                channel = self._open[endpoint] = self._dialer.open(endpoint)
            self._users[channel] += 1
        try:
            yield channel
        finally:
            with self._lock:
                self._users[channel] -= 1
                if not self._users[channel]:
                    del self._users[channel]
                    if channel in self._replaced:
                        self._replaced.remove(channel)
                        channel.close()

    def replace(self, endpoint: Endpoint, channel: grpc.Channel) -> None:
        """Replaces the channel, which the caller is using, for all later users, unless that was done already."""
        with self._lock:
            if self._open.get(endpoint) is channel:
                self._replaced.add(self._open.pop(endpoint))
                self._dialer.next_turn(endpoint)

    def close(self, endpoint: Endpoint) -> None:
        """Closes the channel now, or when its last user leaves it."""
        with self._lock:
            channel = self._open.pop(endpoint, None)
            self._dialer.forget(endpoint)
            if channel is not None and channel in self._users:
                self._replaced.add(channel)
            elif channel is not None:
                channel.close()
