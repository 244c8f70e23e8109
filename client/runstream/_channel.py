"""One gRPC channel per process and address, a new one after a failure, and what a fork needs of them.

A channel stays with the replica that it found. When that one cannot serve (`Retry.ELSEWHERE`), `renew` makes way for a
new channel, which looks the address up again and takes one of the replicas at random, or the next one of a list of
addresses.

gRPC survives a fork only if no thread is inside of it and no connection is open at that moment, and if its core is not
shutting down: closing the last channel starts a shutdown in the background, and a fork in the middle of that aborts
parent or child (seen with grpcio 1.72 and 1.76). So before a fork everybody leaves, the channels are closed, and one
further channel, never connected, keeps the core alive for as long as the process lives. With that order, 1,200 forks
of a streaming process went well on grpcio 1.72.2, 1.76.0, 1.80.0 and 1.85.1; without it most failed before 1.80.
GRPC_ENABLE_FORK_SUPPORT=0 switches off handlers inside of gRPC that this rests upon: then a forked child cannot send.

What ended before the fork is a danger, too. A call or channel that nobody needs any more takes a lock when it is
destroyed, and a thread of gRPC may have held that lock when the process forked. In the child that thread does not
exist, and whichever thread the garbage collector runs in waits forever, be it the trainer's. So the child keeps what
its parent had.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from runstream import _settings

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # A half-open connection is noticed within 40 s. The service permits a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC has pings of its own as well, to measure the line; while one is under way, keepalive waits for its minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Repeating is the sender's, which knows what was committed; gRPC would only hide failures from it.
    ("grpc.enable_retries", 0),
    # gRPC's own wait before it dials again, up to two minutes by default; ours must be the one that counts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A name may point to another address within seconds; gRPC would look it up twice a minute.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A connection of our own: not one that another library in this process configured, and one that really closes.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
# Of several addresses behind a name, such as that of a headless service, not always the first.
_ANY_ADDRESS = ("grpc.service_config", '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}')


class Channels:
    """The channels of this process. A user holds one only while it is `using` it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[str, grpc.Channel] = {}
        self._users: Counter[grpc.Channel] = Counter()
        self._turns: dict[str, int] = {}  # which of the addresses of a list is the first
        self._retired: set[grpc.Channel] = set()  # replaced by `renew`; the last user closes it
        self._keeper: grpc.Channel | None = None
        self._forking = False
        self._not_destroyed_yet: weakref.WeakSet[Any] = weakref.WeakSet()  # channels and calls, also those that ended

    @contextmanager
    def using(self, address: str) -> Iterator[grpc.Channel]:
        """The channel to an address, opened if need be. Waits while a fork is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            if self._keeper is None:
                self._keeper = grpc.insecure_channel("127.0.0.1:1", options=OPTIONS)  # never connects
            channel = self._open.get(address)
            if channel is None:
                channel = self._open[address] = self._new_channel(address)
                self._not_destroyed_yet.add(channel)
            self._users[channel] += 1
        try:
            yield channel
        finally:
            with self._changed:
                self._leave(channel)
                self._changed.notify_all()

    def _new_channel(self, address: str) -> grpc.Channel:
        # gRPC on its own would send everything, even what goes to 127.0.0.1, through the proxy for web pages.
        options = (*OPTIONS, ("grpc.enable_http_proxy", int(_settings.uses_http_proxy(os.environ))))
        scheme, _, rest = address.partition(":")
        addresses = rest.split(",")
        if scheme not in ("ipv4", "ipv6") or len(addresses) == 1:
            return grpc.insecure_channel(address, options=(*options, _ANY_ADDRESS))
        turn = self._turns.setdefault(address, random.randrange(len(addresses))) % len(addresses)
        return grpc.insecure_channel(f"{scheme}:{','.join(addresses[turn:] + addresses[:turn])}", options=options)

    def _leave(self, channel: grpc.Channel) -> None:
        self._users[channel] -= 1
        if not self._users[channel]:
            del self._users[channel]
            if channel in self._retired:
                self._retired.remove(channel)
                channel.close()

    def watch(self, call: grpc.Call) -> None:
        """Has to be told of each call that is not over when the method that made it returns."""
        self._not_destroyed_yet.add(call)

    def renew(self, address: str, channel: grpc.Channel) -> None:
        """Replaces the channel, which the caller is using, for all that come from now on, unless that was done already.
        Streams on it go on."""
        with self._changed:
            if self._open.get(address) is channel:
                self._retired.add(self._open.pop(address))
                if address in self._turns:
                    self._turns[address] += 1

    def before_fork(self, deadline: float) -> bool:
        """Closes all channels that nobody uses; waits for the others until `deadline` (monotonic seconds)."""
        with self._changed:
            self._forking = True
            free = self._changed.wait_for(lambda: not self._users, max(0.0, deadline - time.monotonic()))
            for address in [address for address, channel in self._open.items() if channel not in self._users]:
                self._open.pop(address).close()
            return free

    def after_fork_in_parent(self) -> None:
        """Lets users in again."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def for_child(self) -> Channels:
        """The channels of a forked child: none open. Inherited ones are kept from being destroyed, and so are calls:
        that would reach into the parent's connections, or wait for its threads."""
        child = Channels()
        child._keeper = self._keeper
        _never_destroyed.append((self._open, self._retired, list(self._not_destroyed_yet)))
        return child

    def abandon(self, address: str) -> None:
        """Forgets the channel without closing it: a call on it failed half-way, and closing would wait forever."""
        with self._changed:
            if address in self._open:
                _never_destroyed.append(self._open.pop(address))

    def close_unused(self, address: str) -> None:
        """Closes the channel if nobody uses it."""
        with self._changed:
            if address in self._open and self._open[address] not in self._users:
                self._open.pop(address).close()
                self._turns.pop(address, None)


_never_destroyed: list[object] = []
