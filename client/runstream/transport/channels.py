"""One gRPC channel per address, replaced after a failure.

A channel stays with the replica that it connected to. When that replica cannot serve (`Retry.ELSEWHERE`), `renew`
replaces the channel by a new one, which resolves the address again and connects to one of the replicas at random, or to
the next one of a list of addresses.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from runstream import _settings

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # A half-open connection is noticed within 40 s. The service permits a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC also sends pings to measure bandwidth; while one is under way, keepalive waits for its timeout of a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The transport repeats, since it knows what was committed; gRPC's own retries would only hide failures from it.
    ("grpc.enable_retries", 0),
    # gRPC's own wait before it reconnects is up to two minutes by default. It is short, so that the transport's counts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A name may resolve to another address within seconds; by default, gRPC would resolve it at most twice a minute.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # Connections are not shared with channels of other libraries in this process, and really close with their channel.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
# If a name has several addresses, such as that of a headless service, connect to a random one, not always the first.
_ANY_ADDRESS = ("grpc.service_config", '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}')


class Channels:
    """The channels of one transport. Code may use a channel only inside a block of `using`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, grpc.Channel] = {}
        self._users: Counter[grpc.Channel] = Counter()
        self._turns: dict[str, int] = {}  # which of the addresses of a list is the first
        self._retired: set[grpc.Channel] = set()  # replaced by `renew` or left by `close`; the last user closes it

    @contextmanager
    def using(self, address: str) -> Iterator[grpc.Channel]:
        """The channel to an address, opened if need be."""
        with self._lock:
            channel = self._open.get(address)
            if channel is None:
                channel = self._open[address] = self._new_channel(address)
            self._users[channel] += 1
        try:
            yield channel
        finally:
            with self._lock:
                self._users[channel] -= 1
                if not self._users[channel]:
                    del self._users[channel]
                    if channel in self._retired:
                        self._retired.remove(channel)
                        channel.close()

    def _new_channel(self, address: str) -> grpc.Channel:
        # By default, gRPC would send everything through the proxy for web pages, even requests to 127.0.0.1.
        options = (*OPTIONS, ("grpc.enable_http_proxy", int(_settings.uses_http_proxy(os.environ))))
        scheme, _, rest = address.partition(":")
        addresses = rest.split(",")
        if scheme not in ("ipv4", "ipv6") or len(addresses) == 1:
            return grpc.insecure_channel(address, options=(*options, _ANY_ADDRESS))
        turn = self._turns.setdefault(address, random.randrange(len(addresses))) % len(addresses)
        return grpc.insecure_channel(f"{scheme}:{','.join(addresses[turn:] + addresses[:turn])}", options=options)

    def renew(self, address: str, channel: grpc.Channel) -> None:
        """Replaces the channel, which the caller is using, for all later users, unless that was done already."""
        with self._lock:
            if self._open.get(address) is channel:
                self._retired.add(self._open.pop(address))
                if address in self._turns:
                    self._turns[address] += 1

    def close(self, address: str) -> None:
        """Closes the channel now, or when its last user leaves it."""
        with self._lock:
            channel = self._open.pop(address, None)
            self._turns.pop(address, None)
            if channel is not None and channel in self._users:
                self._retired.add(channel)
            elif channel is not None:
                channel.close()
