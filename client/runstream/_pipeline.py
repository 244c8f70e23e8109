"""Connects the parts of one run in one process: buffer -> sender -> outbox -> connection, and the control thread.

A pipeline belongs to the process that made it. A forked child makes a new one, with a new producer id; the parent's
pipeline continues in the parent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runstream import _status
from runstream._batches import SeriesTable
from runstream._buffer import Buffer, Marker
from runstream._channel import Channels
from runstream._connection import Connection
from runstream._control import Control
from runstream._earlier_steps import EarlierSteps
from runstream._joining import Joining
from runstream._notices import Notices
from runstream._outbox import Outbox
from runstream._sender import Sender
from runstream._settings import Settings

_END_OF_STREAM_S = 1.0  # how long the service may take for its last acknowledgement and the end of the stream
_SENDER_S = 1.0  # how long the sender may take to pack what is left


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
        earlier_steps = EarlierSteps(self.notices)
        self.control = Control(
            settings, channels, self.notices, joining, earlier_steps, self._run_refused, self._run_taken
        )
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
            run_deleted=self.control.run_deleted,
        )
        self._sender = Sender(
            self.buffer,
            self.outbox,
            self.notices,
            earlier_steps,
            settings.batch_interval_s,
            lambda: self._sender_stopping,
        )
        self._channels = channels
        self._on_start = on_start
        self._sender_stopping = False
        self._threads: dict[str, threading.Thread] = {}
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
                # Daemons: a program that hangs at exit because of these threads would be worse than a lost point. The
                # exit handler flushes before.
                thread = threading.Thread(
                    target=self._guarded, args=(name, target), name=f"runstream-{name}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter is ending
                    self._give_up("no_threads")
                    self.notices.no_threads(error)
                    return
                self._threads[name] = thread

    def put(self, kind: str, entries: Mapping[str, str]) -> None:
        """Queues params or tags."""
        self.start()
        self.control.put(kind, entries)

    def mark(self) -> Marker:
        """Puts a marker behind everything logged so far."""
        marker = Marker()
        self.buffer.mark(marker)
        return marker

    def waiting_for_devices(self) -> int:
        """How many points wait for the device that computes them."""
        return self._sender.waiting_for_devices()

    def flush(self, timeout_s: float | None) -> bool:
        """Waits until everything that was logged and set so far is answered."""
        if not self.started:
            return True
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        flushed = self.outbox.wait_settled(self.mark(), timeout_s)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self.control.wait_settled(left) and flushed

    def ask_again(self) -> None:
        """Retries now, including what was refused: the last chance before the end."""
        self.outbox.ask_again()
        self.control.ask_again()
        self.connection.ask_again()

    def pause(self) -> None:
        """Asks all threads to leave gRPC. Does not wait."""
        self.connection.pause()
        self.control.pause()

    def resume(self) -> None:
        """Lets the threads use gRPC again."""
        self.connection.resume()
        self.control.resume()

    def stop_sending(self) -> None:
        """Stops sending points. For a moment, batches that were sent may still be acknowledged."""
        self._sender_stopping = True
        self.buffer.wake()
        self._join("sender", _SENDER_S)
        self.outbox.close()
        self.control.notify()
        if self.connection.connected:
            self._join("connection", _END_OF_STREAM_S)

    def shut_down(self, at_exit: bool) -> None:
        """Ends the threads; points that are left are counted as refused.

        At the interpreter's end the channel is left open: it ends with the process, and closing it could wait for a
        thread.
        """
        self.abort()
        self._join("connection", _END_OF_STREAM_S)
        self._join("control", _END_OF_STREAM_S)
        if self._join("sender", 0.0):
            self.buffer.write_off("not_sent")
        if not at_exit:
            self._channels.close_unused(self.settings.address)

    def abort(self) -> None:
        """Ends everything at once, without waiting."""
        self._sender_stopping = True
        self.outbox.stop("closed")
        self.connection.stop()
        self.control.stop()

    def _join(self, name: str, timeout_s: float) -> bool:
        """Waits for a thread, which may never have been started; returns whether it has ended."""
        thread = self._threads.get(name)
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run_refused(self, failure: _status.Failure) -> None:
        if failure.reason != "RUN_DELETED":
            self.outbox.block()
            return
        self.outbox.block(refuse="run_deleted")
        self.notices.once(
            "deleted",
            "the run was deleted; its points are refused and counted from now on. After Client.restore_run(), points "
            "are accepted again within a minute; those logged in between are lost",
        )

    def _run_taken(self) -> None:
        if self.outbox.unblock():
            self.notices.warn(
                "the run was restored; its points are accepted again. %d were refused in between",
                self.buffer.account()[3].get("run_deleted", 0),
            )

    def _guarded(self, name: str, target: Callable[[], Any]) -> None:
        try:
            target()
        except BaseException as error:  # any error: training goes on
            self._died(name, error)

    def _died(self, name: str, error: BaseException) -> None:
        self._give_up("sender_died", write_off=name == "sender")
        self.notices.died(f"the {name} thread", error)

    def _give_up(self, reason: str, write_off: bool = True) -> None:
        """Refuses everything from now on. Without `write_off`, the sender still settles the waiting rows."""
        self.buffer.close(reason)
        self.outbox.stop(reason)
        self.connection.stop()
        self.control.stop()
        if write_off:
            self.buffer.write_off(reason)
