"""Sends journals to the service: those in a directory, of living and dead processes, and those in memory.

The same class runs in the agent, in `runstream sync`, and in a thread of the trainer where no process can be started.
One thread (`run`) reads journals and saves positions; each endpoint has a stream (two threads) and a few callers. One
lock guards all state. It is never held while waiting for a file or the network.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from runstream._endpoint import Endpoint
from runstream._stored_credentials import FIELD
from runstream.journal import Directory, MemoryJournal, NewerVersion, Position
from runstream.journal.reader import JournalReader
from runstream.transport.access import Access
from runstream.transport.callers import Callers
from runstream.transport.channels import Channels
from runstream.transport.endpoints import Endpoints
from runstream.transport.feed import Feed, Journal
from runstream.transport.limits import Limits
from runstream.transport.notices import Log
from runstream.transport.stream import EndpointStream

_PAUSE_S = 0.002  # between two rounds, so that acknowledgements that come meanwhile are handled together
_STOP_TIMEOUT_S = 2.0  # how long the service may take for its last acknowledgements
_RETRY_SAVE_S = 1.0  # how long to wait before a position is saved again after an error
_READING_SHARE = 0.25  # the most of the time for reading journals because the bell was rung
_LONGEST_PAUSE_S = 0.2  # the longest time for which the bell is ignored
_CONNECTION_IDLE_S = 60.0  # a connection without journals is closed after this time


class _Connection:
    """The stream and the callers of one endpoint."""

    def __init__(
        self, access: Access, channels: Channels, limits: Limits, lock: Any, progress: Callable[[], None], log: Log
    ) -> None:
        self.access = access
        self.stream = EndpointStream(access, channels, limits, lock, self._progress, log)
        self.callers = Callers(access, channels, limits, lock, self._progress)
        self.idle_since_s: float | None = None  # by the monotonic clock
        self._transport_progress = progress

    def _progress(self) -> None:
        """Called after each answer: the stream opens producers of created runs, and calls are made that waited for
        acknowledgements."""
        self.stream.wake.notify_all()
        self.callers.wake.notify()
        self._transport_progress()

    def start(self) -> None:
        """Starts the threads that are needed and do not run. The lock is held."""
        try:
            if self.stream.feeds:
                self.stream.start()
            self.callers.start()
        except RuntimeError as error:  # no thread can be started; the next round tries again
            self.stream.last_error = f"no thread can be started ({error})"

    def retry_now(self) -> None:
        """Asks the service again at once. The lock is held."""
        self.access.retry_now()
        self.stream.retry_now()
        self.callers.retry_now()


class Transport:
    """Sends journals until it is stopped."""

    def __init__(
        self,
        directory: Directory | None = None,
        *,
        paths: Iterable[Path] | None = None,
        limits: Limits | None = None,
        log: Log = lambda level, text: None,
        endpoints: Endpoints | None = None,
        keep: bool = False,
        writer_may_live: Callable[[dict[str, Any]], bool] = lambda create: False,
    ) -> None:
        """`paths`: these journals instead of all in the directory. `endpoints` decides where each journal is sent.
        `keep`: nothing is deleted. `writer_may_live` returns whether the writer of a CREATE record may live although
        nobody holds the journal's lock, as it is a copy."""
        self._directory = directory
        self._paths = list(paths) if paths is not None else None
        self._limits = limits or Limits()
        self._log = log
        self._endpoints = endpoints or Endpoints()
        self._keep = keep
        self._writer_may_live = writer_may_live
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._progressed = False
        self._stopping = False
        self._channels = Channels()
        self._connections: dict[Endpoint, _Connection] = {}
        self._feeds: dict[Path | str, Feed] = {}  # by path, or by id for those without a directory
        self._finished_positions: dict[str, Position] = {}  # of journals without a directory that are over
        self._unusable: dict[Path, str] = {}  # journals that cannot be read, and why
        self._bell_ns = -1  # the time of the bell when journals were read last
        self._scanned_s = float("-inf")
        self._next_bell_s = 0.0  # until then the bell is ignored, by the monotonic clock
        self._unfinished = True  # something may have to be read, saved or deleted in the next round
        self._first_round = False  # the first round is over, so all journals are known
        self._saves_at_s: dict[Path | str, float] = {}  # when to save positions again that could not be saved
        self._thread: threading.Thread | None = None
        self.last_write_s = time.monotonic()  # when a journal had something new last

    # Called by the agent, `runstream sync` and the trainer.

    def start(self) -> None:
        """Starts a thread that calls `run`. Raises RuntimeError if none can be started."""
        self._thread = threading.Thread(target=self.run, name="runstream-transport", daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Sends journals until `stop` is called."""
        while not self._stopping:
            self.run_once()

    def run_once(self) -> None:
        """Runs one round; if there was nothing to do, waits for a moment."""
        with self._lock:
            progressed, self._progressed = self._progressed, False
        busy = self._read_and_save(progressed)
        with self._lock:
            if not busy and not self._stopping:
                self._wake.wait_for(lambda: self._progressed or self._stopping, self._limits.poll_s)
            woken = self._progressed
        if woken:
            time.sleep(_PAUSE_S)

    def add(self, journal: MemoryJournal, endpoint: Endpoint | None = None) -> None:
        """Adds a journal in memory. Raises ValueError if its CREATE record cannot be used."""
        endpoint = endpoint or self._endpoints.of(journal.create, None)
        self.add_kept(journal, endpoint, Position(), lambda position: journal.delete_before(position.records + 1))

    def add_kept(
        self, journal: Journal, endpoint: Endpoint, position: Position, save: Callable[[Position], None]
    ) -> None:
        """Adds a journal whose position the caller keeps: it was sent as far as `position`. `save` returns when a
        position is on disk, or raises OSError. Raises ValueError if the CREATE record cannot be used."""
        self._add_feed(journal.id, Feed(journal, None, position, self._limits, self._log, endpoint, save))
        with self._lock:
            self._progress()

    def position(self, journal_id: str) -> Position | None:
        """The position of a journal without a directory; None if it is not known."""
        feed = self._feeds.get(journal_id)
        return feed.position if feed is not None else self._finished_positions.get(journal_id)

    def wake(self) -> None:
        """Reads the journals at once, as something was appended to one of them."""
        with self._lock:
            self._bell_ns = -1
            self._progress()

    def retry_now(self) -> None:
        """Asks the service again at once, even for what it has refused."""
        with self._lock:
            for feed in self._feeds.values():
                feed.retry_now()
            self._retry_all_now()

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """Sends nothing more, waits at most this long for the last acknowledgements, and saves all positions."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._stopping = True
            self._progress()
            for connection in self._connections.values():
                connection.stream.stop()
                connection.callers.stop()
        for connection in self._connections.values():
            connection.stream.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left_s = max(0.0, deadline - time.monotonic())
            self._wake.wait_for(
                lambda: not any(connection.callers.busy for connection in self._connections.values()), left_s
            )
            for connection in self._connections.values():
                connection.stream.cancel()
                connection.callers.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_TIMEOUT_S)
        for connection in self._connections.values():
            connection.stream.join(_STOP_TIMEOUT_S)
        self._save(float("inf"))
        for endpoint in self._connections:
            self._channels.close(endpoint)

    def drained(self) -> bool:
        """Whether everything that was written to the journals so far is settled."""
        with self._lock:
            return self._first_round and all(feed.drained for feed in self._feeds.values())

    def over(self) -> bool:
        """Whether everything is settled, the ends included, and nothing more will be written."""
        with self._lock:
            return self._first_round and all(feed.over for feed in self._feeds.values())

    def work_left(self) -> bool:
        """Whether something is left that may be sent, or a writer lives that may write more."""
        with self._lock:
            return not self._first_round or not all(feed.is_stuck for feed in self._feeds.values())

    @property
    def journals(self) -> int:
        """How many journals are being sent."""
        return len(self._feeds)

    def feeds(self) -> list[Feed]:
        """All feeds, for the status. Other threads may change them meanwhile."""
        with self._lock:
            return list(self._feeds.values())

    def streams(self) -> list[EndpointStream]:
        """All streams, for the status."""
        with self._lock:
            return [connection.stream for connection in self._connections.values()]

    def unusable(self) -> dict[Path, str]:
        """Journals that cannot be read, and why."""
        return dict(self._unusable)

    def named_credentials(self) -> set[str] | None:
        """The names of stored credentials in all journals; None while some of the journals have not been read."""
        with self._lock:
            if not self._first_round or self._unusable:
                return None
            return {str(feed.journal.create.get(FIELD) or "") for feed in self._feeds.values()}

    # One round.

    def _read_and_save(self, progressed: bool) -> bool:
        """Does the work of one round; returns whether there is more to read at once."""
        now_s = time.monotonic()
        bell_ns = self._directory.bell_time_ns() if self._directory is not None else 0
        scan = now_s - self._scanned_s >= self._limits.scan_s
        rung = bell_ns != self._bell_ns and now_s >= self._next_bell_s
        if not (scan or rung or progressed or self._unfinished):
            return False  # as in most rounds of an idle agent, which cost one call of stat
        if scan or rung:
            self._bell_ns = bell_ns
            self._find()
        if scan:
            self._scanned_s = now_s
            self._maintain_connections(now_s)
        busy = self._read(everything=scan or rung, check_writer=scan)
        if rung:
            # The bell does not say which journal has changed. With hundreds of writers, reading all journals must not
            # take all the time.
            took_s = time.monotonic() - now_s
            self._next_bell_s = now_s + min(_LONGEST_PAUSE_S, took_s / _READING_SHARE)
        self._start_threads()
        self._save(now_s)
        self._delete_finished(now_s)
        self._first_round = True
        self._unfinished = busy or any(feed.unsaved or feed.over for feed in self._feeds.values())
        return busy

    def _find(self) -> None:
        """Opens new journals, and forgets those that somebody has deleted."""
        if self._paths is not None:
            paths = self._paths
        else:
            paths = self._directory.journals() if self._directory is not None else []
        known = set(paths)
        for path in paths:
            if path not in self._feeds and path not in self._unusable:
                self._open(path)
        for key, feed in list(self._feeds.items()):
            if isinstance(key, Path) and key not in known:
                self._log("warning", f"the journal {key} was deleted with {feed.producer.waiting_points} points in it")
                self._forget(key, feed)
        for path in list(self._unusable):
            if path not in known:
                del self._unusable[path]

    def _open(self, path: Path) -> None:
        try:
            position = Position.load(path) or Position()
            reader = JournalReader(path, position.records + 1, quarantine=not self._keep)
            if not reader.create:
                raise ValueError("its CREATE record is damaged, so its run is unknown")
            endpoint = self._endpoints.of(reader.create, path)
            feed = Feed(reader, path, position, self._limits, self._log, endpoint)
        except FileNotFoundError:
            return  # deleted in between
        except (NewerVersion, OSError, ValueError) as error:
            self._unusable[path] = str(error)
            self._log("error", f"the journal {path} cannot be read, and is left as it is: {error}")
            return
        feed.writer_may_live = self._writer_may_live(reader.create)
        self._log("info", f"{feed.about()}: the journal {path} goes to {feed.address}")
        self._add_feed(path, feed)

    def _add_feed(self, key: Path | str, feed: Feed) -> None:
        with self._lock:
            self._feeds[key] = feed
            connection = self._connections.get(feed.endpoint)
            if connection is None:
                access = Access(feed.endpoint, self._endpoints.alternatives(feed.endpoint, feed.path))
                connection = self._connections[feed.endpoint] = _Connection(
                    access, self._channels, self._limits, self._lock, self._progress, self._log
                )
            connection.stream.add(feed)
            connection.callers.feeds.append(feed)
            self._check_newer(feed)

    def _check_newer(self, feed: Feed) -> None:
        """If a job was restarted with the same attempt, the older journal must not set the run's end. (Other ranks and
        joined processes of the run may have newer journals as well, but do not end it.)"""
        if not feed.creation.ends_run:
            return
        for other in self._feeds.values():
            if other is not feed and other.creation.ends_run and other.creation.run_id == feed.creation.run_id:
                newer = other.creation.time_unix_us > feed.creation.time_unix_us
                (feed if newer else other).superseded = True

    def _read(self, everything: bool, check_writer: bool) -> bool:
        """Reads as much as there is room for; returns whether anything was read."""
        busy = False
        feeds = list(self._feeds.values())
        sharing = sum(not feed.at_end for feed in feeds)
        for feed in feeds:
            if feed.complete or (feed.at_end and not everything):
                continue
            with self._lock:
                room = feed.room(sharing)
            if room <= 0:
                continue
            try:
                records, complete = feed.read_records(room, check_writer)
            except OSError as error:
                self._log("error", f"the journal {feed.path} cannot be read at the moment: {error}")
                continue
            if not records and feed.at_end and not complete:
                continue
            with self._lock:
                had_finish = feed.calls.has_finish
                feed.take(records, complete)
                if feed.calls.has_finish and not had_finish:
                    self._retry_all_now()
                if records:
                    self.last_write_s = time.monotonic()
                    busy = True
                    self._notify(feed)
        return busy

    def _maintain_connections(self, now_s: float) -> None:
        """Switches to tokens that were replaced, and closes connections without journals: an agent that runs for days
        meets many tokens."""
        for endpoint, connection in list(self._connections.items()):
            if connection.access.is_refused and connection.access.reload():
                with self._lock:
                    self._retry_now(connection)
            with self._lock:
                if connection.stream.feeds:
                    connection.idle_since_s = None
                elif connection.idle_since_s is None:
                    connection.idle_since_s = now_s
                elif now_s - connection.idle_since_s > _CONNECTION_IDLE_S:
                    del self._connections[endpoint]
                    connection.stream.stop()
                    connection.callers.stop()
                    self._channels.close(endpoint)

    def _retry_now(self, connection: _Connection) -> None:
        for feed in connection.stream.feeds:
            feed.before_open.retry_now()
            feed.before_call.retry_now()
        connection.retry_now()

    def _notify(self, feed: Feed) -> None:
        connection = self._connections[feed.endpoint]
        connection.stream.wake.notify_all()
        connection.callers.wake.notify()

    def _start_threads(self) -> None:
        with self._lock:
            if self._stopping:
                return
            for connection in self._connections.values():
                connection.start()

    def _save(self, now_s: float) -> None:
        for key, feed in list(self._feeds.items()):
            if now_s < self._saves_at_s.get(key, 0.0):
                continue
            with self._lock:
                due = feed.position_to_save(now_s)
            if due is None:
                continue
            try:
                feed.store(*due)
                if not self._keep:
                    feed.release(due[0])
            except OSError as error:
                self._saves_at_s[key] = now_s + _RETRY_SAVE_S
                feed.mark_changed()
                self._log("error", f"the position of the journal {feed.path} cannot be saved at the moment: {error}")
                continue
            if due[1]:
                with self._lock:
                    feed.producer.id_saved(bytes.fromhex(due[0].producer))
                    self._notify(feed)

    def _delete_finished(self, now_s: float) -> None:
        """Deletes journals that are over."""
        for key, feed in list(self._feeds.items()):
            with self._lock:
                # The position is all that is left of a journal without a directory, so it is saved first.
                is_over = feed.over and (feed.path is not None or not feed.unsaved)
            if not is_over or self._keep or not feed.may_be_deleted(now_s):
                continue
            if isinstance(key, Path) and self._directory is not None:
                try:
                    self._directory.delete_journal(key)
                except OSError as error:
                    self._log("error", f"the journal {key} cannot be deleted: {error}")
                    continue
                refused = sum(feed.settled.refused.values())
                stored = f"{feed.settled.acknowledged_points} points acknowledged, {refused} refused"
                self._log("info", f"{feed.about()}: the journal is done, {stored}")
            else:
                self._finished_positions[feed.id] = feed.position
            self._forget(key, feed)

    def _forget(self, key: Path | str, feed: Feed) -> None:
        with self._lock:
            del self._feeds[key]
            self._saves_at_s.pop(key, None)
            connection = self._connections[feed.endpoint]
            connection.stream.remove(feed)
            with contextlib.suppress(ValueError):
                connection.callers.feeds.remove(feed)
            connection.stream.wake.notify_all()
        close = getattr(feed.journal, "close", None)
        if close is not None:
            close()

    def _retry_all_now(self) -> None:
        for connection in self._connections.values():
            connection.retry_now()

    def _progress(self) -> None:
        self._progressed = True
        self._wake.notify_all()
