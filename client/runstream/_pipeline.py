"""Wires the parts of one run in one process: buffer -> sender -> outbox -> connection, and the control thread.

A pipeline belongs to the process that made it. A forked child makes its own, with a producer id of its own; the
parent's goes on in the parent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from runstream._batches import SeriesTable
from runstream._buffer import Buffer, Marker
from runstream._channel import Channels
from runstream._connection import Connection
from runstream._control import Call, Control
from runstream._joining import Joining
from runstream._notices import Notices
from runstream._outbox import Outbox
from runstream._sender import Sender
from runstream._settings import Settings

_END_OF_STREAM_S = 1.0  # how long the service may take to say goodbye when all is acknowledged


class Pipeline:
    """Everything that moves one run's points in this process."""

    def __init__(
        self,
        settings: Settings,
        channels: Channels,
        joining: Joining,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.notices = Notices(joining.run_id, settings.address, settings.max_points)
        self.buffer = Buffer(settings.max_points, settings.max_bytes, self.notices, self.start)
        self.outbox = Outbox(self.buffer, SeriesTable())
        self.outbox.batch_points = settings.batch_points
        self.control = Control(settings, channels, self.notices, joining, self._run_deleted)
        self.connection = Connection(
            settings,
            channels,
            self.outbox,
            self.notices,
            run_id=lambda: joining.run_id,
            rank=joining.rank,
            attempt=joining.attempt,
            wait_created=self.control.wait_created,
            create_again=self.control.create_again,
            run_deleted=self._run_deleted,
        )
        self._sender = Sender(
            self.buffer, self.outbox, self.notices, settings.batch_interval_s, lambda: self._sender_stopping
        )
        self._channels = channels
        self._on_start = on_start
        self._sender_stopping = False
        self._threads: list[threading.Thread] = []
        self._starting = threading.RLock()
        self.started = False

    def start(self) -> None:
        """Starts the threads, once."""
        if self.started:
            return
        with self._starting:
            if self.started:
                return
            self.started = True
            self._on_start()
            for name, target in (
                ("sender", self._sender.run),
                ("connection", self.connection.run),
                ("control", self.control.run),
            ):
                # Daemons: a program that hangs in a thread of ours at exit would be worse than a lost point; the exit
                # handler flushes before.
                thread = threading.Thread(
                    target=self._guarded, args=(name, target), name=f"runstream-{name}", daemon=True
                )
                self._threads.append(thread)
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter is ending
                    self._died(name, error)
                    return

    def submit(self, call: Call) -> bool:
        """Queues a unary call."""
        self.start()
        return self.control.submit(call)

    def flush(self, timeout_s: float | None) -> bool:
        """Waits until everything logged and set so far is answered."""
        if not self.started:
            return True
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        marker = Marker()
        self.buffer.mark(marker)
        flushed = self.outbox.wait_settled(marker, timeout_s)
        return self.control.wait_settled(deadline) and flushed

    def finish(self, last: Call | None, timeout_s: float, *, at_exit: bool = False) -> bool:
        """Takes no more points, flushes, makes the last call, ends the threads. True if all was acknowledged.

        At the interpreter's end the channel is left open: the process closes it, and closing could wait for a thread.
        """
        deadline = time.monotonic() + timeout_s
        self.buffer.close("finished")
        flushed = self.flush(timeout_s)
        if last is not None and self.submit(last):
            # Also when points are left: the run's end is worth saying. A moment is always given to it.
            flushed = self.control.wait_settled(max(deadline, time.monotonic() + 0.1)) and flushed
        self._shut_down()
        if not at_exit:
            self._channels.close_unused(self.settings.address)
        return flushed

    def pause(self) -> None:
        """Asks all threads to leave gRPC. Does not wait."""
        self.connection.pause()
        self.control.pause()

    def resume(self) -> None:
        """Lets them go on."""
        self.connection.resume()
        self.control.resume()

    def _shut_down(self) -> None:
        if not self.started:
            return
        self._sender_stopping = True
        self.buffer.wake()
        sender, connection, control = self._threads
        _join(sender, 1.0)
        self.outbox.stop("closed")
        self.control.notify()
        if self.connection.connected:
            _join(connection, _END_OF_STREAM_S)
        self.connection.stop()
        self.control.stop()
        _join(connection, _END_OF_STREAM_S)
        _join(control, _END_OF_STREAM_S)
        if not sender.is_alive():
            self.buffer.write_off("not_sent")

    def _run_deleted(self) -> None:
        self.buffer.close("run_deleted")
        self.outbox.stop("run_deleted")
        self.control.stop()
        self.notices.once(
            "deleted", "the run was deleted; its points are refused from now on. Client.restore_run() takes that back"
        )

    def _guarded(self, name: str, target: Callable[[], Any]) -> None:
        try:
            target()
        except BaseException as error:  # whatever it is, training goes on
            self._died(name, error)

    def _died(self, name: str, error: BaseException) -> None:
        self.buffer.close("sender_died")
        self.outbox.stop("sender_died")
        self.connection.stop()
        self.control.stop()
        if name == "sender":
            self.buffer.write_off("sender_died")  # nobody is left to take rows out; otherwise the sender does
        self.notices.died(f"the {name} thread", error)


def _join(thread: threading.Thread, timeout_s: float) -> None:
    if thread is not threading.current_thread() and thread.ident is not None:
        thread.join(timeout_s)
