"""The channels of `Client`: one per process and endpoint, replaced after a failure and closed around a fork. A process
that only trains has none: there, this module is never imported.

gRPC survives a fork only if no thread is inside of it and no connection is open at that moment, and if its core is not
shutting down: closing the last channel starts a shutdown in the background, and a fork in the middle of that aborts
parent or child (seen with grpcio 1.72 and 1.76). So before a fork streams are cancelled, all threads leave gRPC, the
channels are closed, and one further channel, never connected, keeps the core alive for as long as the process lives.
With that order, 1,200 forks of a streaming process succeeded on grpcio 1.72.2, 1.76.0, 1.80.0 and 1.85.1; without it
most failed before 1.80.

Handlers that run before a fork run in the reverse order of their registration, and gRPC registers its own with its
first channel. Ours have to run first, since gRPC's stop the threads that closing a channel waits for: so they are
registered right after that first channel was made.

GRPC_ENABLE_FORK_SUPPORT=0 disables handlers inside of gRPC that all this depends on. A forked child that opened a
channel then would abort, so it gets an error instead.

Calls and channels that ended before the fork are a danger, too. Destroying one takes a lock, which a thread of gRPC may
have held when the process forked. In the child that thread does not exist, so the thread that the garbage collector
happens to run in, perhaps the trainer's, would wait forever. So the child never destroys what its parent had.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from runstream import errors
from runstream._dialing import OPTIONS, Dialer
from runstream._endpoint import Endpoint
from runstream._tls import CannotDial

_FORK_WAIT_S = 2.0  # how long a fork may wait until all threads have left gRPC; it takes milliseconds


class Channels:
    """The channels of this process. Code may use a channel only inside a block of `lease`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[Endpoint, grpc.Channel] = {}
        self._users: Counter[grpc.Channel] = Counter()
        self._dialer = Dialer()
        self._replaced: set[grpc.Channel] = set()  # replaced by `replace`; the last user closes it
        self._core_keepalive: grpc.Channel | None = None
        self._forking = False
        self._inside = 0  # threads that are inside of gRPC
        self._streams: set[Any] = set()  # calls with streamed responses that have not ended
        self._cannot_be_used = False  # in a forked child, where gRPC would abort
        self._not_destroyed_yet: weakref.WeakSet[Any] = weakref.WeakSet()  # channels and calls, even if they ended

    @contextmanager
    def lease(self, endpoint: Endpoint, *, is_stream: bool = False) -> Iterator[grpc.Channel]:
        """Yields the channel to an endpoint, opened if need be. Waits while a fork is under way. A fork waits for the
        end of the block; if `is_stream`, only while a thread is in a block of `inside`. Raises FailedPrecondition if
        gRPC cannot be used here, or a file for TLS cannot be read."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._prepare()
            channel = self._open.get(endpoint)
            if channel is None:
                channel = self._open[endpoint] = self._dial(endpoint)
                self._not_destroyed_yet.add(channel)
            self._users[channel] += 1
            self._inside += not is_stream
        try:
            yield channel
        finally:
            with self._changed:
                self._inside -= not is_stream
                self._release(channel)
                self._changed.notify_all()

    @contextmanager
    def inside(self, stream: Any = None) -> Iterator[None]:
        """A block that starts a stream, or reads the next piece of one. A fork cancels streams: in the child they have
        ended, and raise Unavailable."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            if stream is not None and stream not in self._streams:
                raise errors.Unavailable("the process has forked since this call began; make it again in the child")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _prepare(self) -> None:
        if self._cannot_be_used:
            raise errors.FailedPrecondition(
                "this process was forked from one that uses runstream.Client, and with GRPC_ENABLE_FORK_SUPPORT="
                f"{os.environ.get('GRPC_ENABLE_FORK_SUPPORT')} gRPC would abort it. Remove the variable, start the "
                "process with spawn, or read in the parent. (Logging does not need gRPC.)"
            )
        if self._core_keepalive is None:
            self._core_keepalive = grpc.insecure_channel("127.0.0.1:1", options=OPTIONS)  # never connects
            _register_fork_handlers()

    def _dial(self, endpoint: Endpoint) -> grpc.Channel:
        try:
            return self._dialer.open(endpoint)
        except CannotDial as error:
            raise errors.FailedPrecondition(str(error)) from error

    def _release(self, channel: grpc.Channel) -> None:
        if channel not in self._users:
            return  # it belongs to the parent of this forked process
        self._users[channel] -= 1
        if not self._users[channel]:
            del self._users[channel]
            if channel in self._replaced and not self._forking:
                self._replaced.remove(channel)
                channel.close()

    def register_stream(self, call: grpc.Call) -> None:
        """Registers a stream, until `cancel_stream`."""
        self._not_destroyed_yet.add(call)
        self._streams.add(call)

    def cancel_stream(self, call: grpc.Call) -> None:
        """Ends a stream of this process, at any point of the call."""
        if call in self._streams:  # a stream of this forked process's parent must not be touched
            self._streams.discard(call)
            call.cancel()

    def replace(self, endpoint: Endpoint, channel: grpc.Channel) -> None:
        """Replaces the channel, which the caller is using, for all later users, unless that was done already. Streams
        on it continue."""
        with self._changed:
            if self._open.get(endpoint) is channel:
                self._replaced.add(self._open.pop(endpoint))
                self._dialer.next_turn(endpoint)

    def before_fork(self, deadline: float) -> bool:
        """Cancels streams, waits until no thread is inside of gRPC or the `deadline` (monotonic seconds) has passed,
        and closes all channels that no thread uses. Returns whether no thread was left."""
        with self._changed:
            self._forking = True
            for call in list(self._streams):
                call.cancel()
            free = self._changed.wait_for(lambda: not self._inside, max(0.0, deadline - time.monotonic()))
            for endpoint in list(self._open):
                if free or self._open[endpoint] not in self._users:
                    self._open.pop(endpoint).close()
            return free

    def after_fork_in_parent(self) -> None:
        """Lets threads use channels again."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def for_child(self) -> Channels:
        """The channels of a forked child; none is open. Inherited channels and calls are never destroyed: that would
        use the parent's connections, or wait for its threads."""
        child = Channels()
        child._core_keepalive = self._core_keepalive
        disabled = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").strip().lower() in ("0", "false", "no")
        child._cannot_be_used = self._cannot_be_used or (disabled and self._core_keepalive is not None)
        _never_destroyed.extend(self._not_destroyed_yet)
        return child

    def close_unused(self, endpoint: Endpoint) -> None:
        """Closes the channel if nobody uses it."""
        with self._changed:
            if endpoint in self._open and self._open[endpoint] not in self._users:
                self._open.pop(endpoint).close()
                self._dialer.forget(endpoint)


_never_destroyed: list[object] = []


class _ProcessChannels:
    """Holds the channels of this process, and replaces them in a forked child."""

    def __init__(self) -> None:
        self.channels = Channels()
        self._fork_lock = threading.RLock()  # two threads that fork at once take turns
        self._registered = False

    def register(self) -> None:
        """Registers the fork handlers, once."""
        if not self._registered and hasattr(os, "register_at_fork"):
            self._registered = True
            os.register_at_fork(
                before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child
            )

    def _before(self) -> None:
        self._fork_lock.acquire()
        with contextlib.suppress(Exception):  # a fork must not fail because of runstream
            self.channels.before_fork(time.monotonic() + _FORK_WAIT_S)

    def _after_in_parent(self) -> None:
        self.channels.after_fork_in_parent()
        self._fork_lock.release()

    def _after_in_child(self) -> None:
        self._fork_lock = threading.RLock()
        self.channels = self.channels.for_child()


_process_channels = _ProcessChannels()
_register_fork_handlers = _process_channels.register


def channels() -> Channels:
    """The channels of this process."""
    return _process_channels.channels
