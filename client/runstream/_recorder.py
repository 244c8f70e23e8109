"""The one thread of this process: for all handles, it packs what was logged, writes their journals, and reads how far
the agent has sent them. No other thread of runstream runs in a training process, unless values are on an accelerator
(see `_device_reader`) or no agent can be started (see `_carriers`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from runstream._device_reader import DeviceReader
from runstream._journal_store import JournalStore
from runstream._recording import Recording
from runstream._settings import Settings
from runstream._threads import Alarm, Lock, RLock, start_thread

_SYNC_S = 0.5  # what was appended is on disk after this time, unless the service has it already
_POLL_S, _IDLE_POLL_S = 0.5, 1.0  # how often positions are read while something is unsettled, and otherwise
# How often they are read while flush() or finish() waits: less often when it has waited long, so that a process which
# waits for a service that is away takes no processor time from others.
_WATCHED_POLL_S, _LONGEST_WATCHED_POLL_S = 0.005, 0.1
_WATCHED_POLL_SHARE = 0.02  # of the time that it has waited
_DEVICE_WAIT_S = 0.05  # wait this long for values that are being read, so that they go into the batch of their row
_RETRY_S = 1.0  # when no thread could be started, try again after this time
_FOREVER = float("inf")
_FORK_WAIT_S = 0.5  # how long a fork may wait for a journal that is being made


class Recorder:
    """Serves the recordings of this process until each is closed. A forked child has another one."""

    def __init__(self, on_start: Callable[[], None] = lambda: None) -> None:
        self._alarm = Alarm()
        self._lock = RLock()  # guards the next three; reentrant, as a signal handler may start a run meanwhile
        self._recordings: list[Recording] = []
        self._stores: dict[Settings, JournalStore] = {}
        self._running = False
        self._on_start = on_start
        self._failed_s = -_FOREVER  # when no thread could be started, by the monotonic clock
        self._failure: RuntimeError | None = None  # why no thread could be started
        self._wakes_s = _FOREVER  # until when the thread sleeps, by the monotonic clock
        self._watched: dict[int, list[Recording]] = {}  # what each waiting flush() or finish() waits for
        self._watched_since_s = 0.0  # when the last of them began to wait, by the monotonic clock
        self._reader = DeviceReader(self.wake)
        self._polled_s = 0.0  # when positions were read last, by the monotonic clock
        self._polled_all_s = 0.0
        # Held while a journal is made, so that a forked child knows of all locks that it inherits.
        self.opening = Lock()
        self._opening_held = False

    # Called by any thread.

    def store_for(self, settings: Settings) -> JournalStore:
        """The journal store for these settings, which handles with equal settings share."""
        with self._lock:
            return self._stores.setdefault(settings, JournalStore(settings))

    def add(self, recording: Recording) -> None:
        """Serves a recording from now on. The thread is started by `start`, or with the first point."""
        with self._lock:
            self._recordings.append(recording)

    def start(self) -> bool:
        """Starts the thread if it does not run; returns whether it does. After a failure it tries again at most once a
        second."""
        if self._running:
            return True
        with self._lock:
            if not self._running and time.monotonic() >= self._failed_s + _RETRY_S:
                self._on_start()
                self._running = True
                try:
                    start_thread(self._run, "runstream-recorder")
                    self._failed_s, self._failure = -_FOREVER, None
                except RuntimeError as error:  # too many threads, or the interpreter is ending
                    self._running, self._failed_s, self._failure = False, time.monotonic(), error
            if not self._running and self._failure is not None:
                for recording in self._recordings:
                    recording.logger.no_threads(self._failure)
                    recording.on_no_thread()
            return self._running

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._running

    def wake_at(self, due_s: float) -> None:
        """Makes sure that the thread runs a turn at this time of the monotonic clock, as something was logged."""
        self.start()
        if due_s < self._wakes_s:
            self._alarm.ring()

    def wake(self) -> None:
        """Makes the thread run a turn now."""
        self.start()
        self._alarm.ring()

    @contextlib.contextmanager
    def watching(self, *recordings: Recording) -> Iterator[None]:
        """A block in which somebody waits for these recordings: their positions are read more often meanwhile."""
        me = object()
        self._watched[id(me)] = list(recordings)
        self._watched_since_s = time.monotonic()
        self.wake()
        try:
            yield
        finally:
            del self._watched[id(me)]

    def stop_stores(self) -> None:
        """Stops what sends journals from this process. Called at the end of the process."""
        for store in list(self._stores.values()):
            store.stop()

    # Called around a fork.

    def before_fork(self) -> None:
        """Waits for at most half a second until no journal is being made."""
        self._opening_held = self.opening.acquire(timeout=_FORK_WAIT_S)

    def after_fork_in_parent(self) -> None:
        """Lets the thread make journals again."""
        if self._opening_held:
            self.opening.release()

    def for_child(self) -> Recorder:
        """Returns the recorder of a forked child. Uses no lock of this one: a thread of the parent may have held it."""
        for recording in list(self._recordings):
            recording.abandon_in_child()
        for store in list(self._stores.values()):
            store.abandon_in_child()
        return Recorder(self._on_start)

    # Called by the recorder's thread.

    def _run(self) -> None:
        try:
            while self._run_once():
                pass
        except BaseException as error:  # whatever it is, training continues
            self._die(error)

    def _run_once(self) -> bool:
        """Runs one turn; returns whether any recording is left."""
        self._sleep()
        recordings = list(self._recordings)
        for recording in recordings:
            self._isolated(recording, recording.drain)
        self._read_devices(recordings)
        written = [recording for recording in recordings if self._isolated(recording, recording.seal_and_write)]
        for store in {recording.store for recording in written}:
            store.appended()
        self._maintain_stores(recordings)
        self._sync(recordings)
        self._poll(recordings)
        for recording in recordings:
            self._isolated(recording, recording.close_if_done)
            recording.logger.flush(recording.buffer.refused)
        return self._forget_closed()

    def _sleep(self) -> None:
        # Infinite meanwhile: a thread that logs while the time of the next turn is computed has to wake this one.
        self._wakes_s = _FOREVER
        wakes_s = self._next_turn_s()
        self._wakes_s = wakes_s
        self._alarm.wait(max(0.0, wakes_s - time.monotonic()))

    def _next_turn_s(self) -> float:
        recordings = self._recordings
        due = [one for recording in recordings if (one := recording.due_s()) is not None]
        if self._watched:
            due.append(self._polled_s + self._watched_poll_s())
        else:
            unsettled = any(recording.is_unsettled() for recording in recordings)
            due.append(self._polled_all_s + (_POLL_S if unsettled else _IDLE_POLL_S))
        due += [one + _SYNC_S for recording in recordings if (one := recording.sync_due_s()) is not None]
        return min(due)

    def _read_devices(self, recordings: list[Recording]) -> None:
        points = [point for recording in recordings for point in recording.packer.for_devices()]
        waiting = [recording for recording in recordings if recording.packer.waiting_for_devices()]
        if not points and not waiting:
            return
        self._reader.submit(points)
        for point in self._reader.collect(_DEVICE_WAIT_S):
            point.owner.pack_device_point(point)
        for recording in waiting:
            self._isolated(recording, recording.packer.after_devices)

    def _maintain_stores(self, recordings: list[Recording]) -> None:
        now_s = time.monotonic()
        unsettled = {recording.store for recording in recordings if recording.is_unsettled()}
        for store in {recording.store for recording in recordings}:
            store.maintain(now_s, unsettled=store in unsettled)

    def _sync(self, recordings: list[Recording]) -> None:
        now_s = time.monotonic()
        for recording in recordings:
            since_s = recording.sync_due_s()
            if since_s is not None and (now_s >= since_s + _SYNC_S or self._is_enough_on_disk(recording)):
                self._isolated(recording, recording.sync)

    def _is_enough_on_disk(self, recording: Recording) -> bool:
        """Whether somebody waits until the recording is on disk, and not for the service."""
        on_disk = recording.settings.mode == "offline" or recording.store.agent_outlives_job
        return on_disk and any(recording in watched for watched in list(self._watched.values()))

    def _poll(self, recordings: list[Recording]) -> None:
        now_s = time.monotonic()
        chosen = [one for watched in list(self._watched.values()) for one in watched]
        if now_s >= self._polled_all_s + _POLL_S:
            chosen, self._polled_all_s = recordings, now_s
        elif not chosen or now_s < self._polled_s + self._watched_poll_s():
            return
        self._polled_s = now_s
        for recording in chosen:
            if not recording.closed:
                self._isolated(recording, recording.poll)

    def _watched_poll_s(self) -> float:
        share_s = _WATCHED_POLL_SHARE * (time.monotonic() - self._watched_since_s)
        return min(max(_WATCHED_POLL_S, share_s), _LONGEST_WATCHED_POLL_S)

    def _isolated(self, recording: Recording, do: Callable[[], object]) -> bool:
        """Runs `do`, and returns its result as a bool. An exception, which is a bug, ends this recording only."""
        if recording.dead:
            return False
        try:
            return bool(do())
        except Exception as error:
            recording.die(error)
            return False

    def _forget_closed(self) -> bool:
        with self._lock:
            self._recordings = [recording for recording in self._recordings if not recording.closed]
            if not self._recordings:
                self._running = False
                self._reader.stop()
                self._reader = DeviceReader(self.wake)
            return self._running

    def _die(self, error: BaseException) -> None:
        with self._lock:
            recordings, self._recordings = self._recordings, []
            self._running = False
        for recording in recordings:
            recording.die(error)
