"""Reports to the user, and limits how often. Uses the logger "runstream" and no Python warnings, so that `python -W
error` cannot make log() raise.

Everything here runs on the run's own threads, except `refused`, which only stores a note: a slow or broken log handler
must not delay training.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping

from runstream import _status

logger = logging.getLogger("runstream")

_REPEAT_S = 60.0
_MAX_KEYS = 1_000  # warn about at most this many different keys; further refusals are only counted


class Notices:
    """Warnings of one run: each once, or at most once a minute."""

    def __init__(self, run_id: str, address: str, max_points: int) -> None:
        self.run_id = run_id
        self._address = address
        self._max_points = max_points
        # Any thread appends without a lock (deque.append is atomic). When it is full, the oldest notes are dropped:
        # they are only texts, the counts are in the buffer.
        self._notes: deque[tuple[str, str]] = deque(maxlen=_MAX_KEYS)
        self._warned: set[str] = set()
        self._last: dict[str, float] = {}
        self._early_time: tuple[int, str] | None = None
        self._full_seen = 0
        self._away = False
        self.last_error = ""  # the last error of a stream or call
        self._refused_entries: set[str] = set()
        self._dropped_entries = 0

    def refused(self, key: str, why: str) -> None:
        """Notes a refused value, step or key; the sender's thread writes the warning. Safe anywhere."""
        if key not in self._warned:
            self._notes.append((key, why))

    def early_time(self, time_unix_us: int, unit: str) -> None:
        """Notes a time that looks as if it were in another unit. Safe anywhere."""
        self._early_time = time_unix_us, unit

    def not_ready(self, key: str, waited_s: float, give_up_after_s: float) -> None:
        """Reports a value that its device has not computed for long."""
        self._warn(
            "a value of metric %r has not been computed by its device for %.0f s; everything else is stored meanwhile. "
            "A value that is not computed %.0f s after log(), or when the run ends, is refused as not_ready (said once "
            "for this key)",
            key,
            waited_s,
            give_up_after_s,
        )

    def write(self, refused: Mapping[str, int]) -> None:
        """Writes the notes as warnings, and a warning if points were refused because the buffer was full."""
        while self._notes:
            key, why = self._notes.popleft()
            if key not in self._warned and len(self._warned) < _MAX_KEYS:
                self._warned.add(key)
                self._warn("metric %r %s; refused (said once for this key, counted in stats().refused)", key, why)
        early, self._early_time = self._early_time, None
        if early is not None:
            self.once(
                "early_time",
                "time_unix_us=%d was logged: microseconds since 1970 are expected, such as time.time_ns() // 1000, and "
                "this looks like %s. Such points are stored as they are, at the beginning of 1970 (said once)",
                *early,
            )
        full = refused.get("buffer_full", 0)
        if full > self._full_seen and self._due("full"):
            self._warn(
                "the buffer is full: the service at %s is away, or points come faster than it takes them; %d more "
                "points refused, %d in all. RUNSTREAM_BUFFER_POINTS and RUNSTREAM_BUFFER_BYTES set its bounds",
                self._address,
                full - self._full_seen,
                full,
            )
            self._full_seen = full

    def connection_failed(self, why: str, retry_in_s: float) -> None:
        """Reports that the service did not answer, or that the stream broke."""
        if self._due("connection"):
            self._away = True
            self._warn(
                "no connection to the runstream service at %s%s (%s); training goes on, up to %d points are kept in "
                "memory, next try in %.1f s. Another address: start_run(address=...) or RUNSTREAM_ADDRESS",
                self._address,
                _status.through_proxy(),
                why,
                self._max_points,
                retry_in_s,
            )

    def connected(self) -> None:
        """Reports that the stream is open again, if its loss was reported."""
        if self._away:
            self._away = False
            self._say(logging.INFO, "connected to the runstream service at %s again", self._address)

    def stream_refused(self, failure: _status.Failure) -> None:
        """Reports a status that retrying alone does not cure."""
        if self._due("refused"):
            self._say(
                logging.ERROR,
                "the stream to the runstream service at %s%s was refused (%s); points are kept and tried again every "
                "minute. %s",
                self._address,
                _status.through_proxy(),
                failure,
                _status.advice(failure) or "This is a bug in runstream, please report it",
            )

    def call_refused(self, method: str, keys: list[str], failure: _status.Failure) -> None:
        """Reports a final refusal of a call, with the params or tags in it."""
        what = {"LogParams": "param", "SetTags": "tag"}.get(method)
        if what is None:
            self._warn("the end of the run is not set, so it stays RUNNING: the service refuses it (%s)", failure)
            return
        fresh = [key for key in keys if self._is_new(f"{what} {key}")]
        if fresh:
            self._warn("%s %s refused: %s (said once for each)", what, _some(fresh), failure)

    def entry_refused(self, why: Exception) -> None:
        """Reports an invalid param or tag."""
        if self._is_new(str(why)):
            self._warn("refused: %s (said once)", why)

    def _is_new(self, refusal: str) -> bool:
        if refusal in self._refused_entries or len(self._refused_entries) >= _MAX_KEYS:
            return False
        self._refused_entries.add(refusal)
        return True

    def calls_full(self, what: str, keys: list[str], bound_bytes: int) -> None:
        """Reports params or tags that were dropped because too many wait."""
        self._dropped_entries += len(keys)
        if self._due("calls"):
            self._warn(
                "%s %s refused: params and tags of %d MiB wait already for the service at %s; %d refused so far. "
                "Set fewer of them, or set them when it is back",
                what,
                _some(keys),
                bound_bytes >> 20,
                self._address,
                self._dropped_entries,
            )

    def service_refused(self, refusals: Iterable[tuple[str, int, str]]) -> None:
        """Reports points that the service will never store: (reason, count, example)."""
        for reason, count, example in refusals:
            if self._due(f"service/{reason}"):
                self._warn("the service refused %d points for good, reason %s, for example: %s", count, reason, example)

    def limited(self, about: str, message: str, *args: object) -> None:
        """Writes a warning at most once a minute."""
        if self._due(about):
            self._warn(message, *args)

    def once(self, about: str, message: str, *args: object) -> None:
        """Writes a warning at most once per run."""
        if about not in self._last:
            self._last[about] = time.monotonic()
            self._warn(message, *args)

    def warn(self, message: str, *args: object) -> None:
        """Writes a warning every time."""
        self._warn(message, *args)

    def info(self, message: str, *args: object) -> None:
        """Writes an informational message every time."""
        self._say(logging.INFO, message, *args)

    def died(self, thread: str, error: BaseException) -> None:
        """Reports a thread of the run that a bug has ended."""
        self._say(
            logging.ERROR,
            "%s died because of a bug in runstream; from now on points are refused and counted, training goes on",
            thread,
            error=error,
        )

    def no_threads(self, error: BaseException) -> None:
        """Reports that the threads of the run could not be started."""
        self.once(
            "threads",
            "no thread can be started (%s); what this run logs is refused and counted, training goes on. Raise the "
            "limit of threads (ulimit -u, or the pids limit of the container) and start a new run",
            error,
        )

    def finishing(self, wait_s: float, points: int, on_devices: int, calls: int) -> None:
        """Reports what the end of the run waits for. `on_devices` of the `points` wait for their devices."""
        at_service, waits = points - on_devices, []
        if at_service > 0 or calls or not on_devices:
            waits.append(
                f"the service at {self._address}, which has not taken {at_service} points and {calls} calls yet"
            )
        if on_devices:
            waits.append(f"{on_devices} values that their device has not computed yet")
        self._warn("waiting up to %.0f s for %s; Ctrl-C to leave without them", wait_s, ", and for ".join(waits))

    def _warn(self, message: str, *args: object) -> None:
        self._say(logging.WARNING, message, *args)

    def _say(self, level: int, message: str, *args: object, error: BaseException | None = None) -> None:
        with contextlib.suppress(Exception):  # the program's log handler is broken; there is nowhere left to say it
            logger.log(level, "run %s: " + message, self.run_id, *args, exc_info=error)

    def _due(self, about: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(about, -_REPEAT_S) < _REPEAT_S:
            return False
        self._last[about] = now
        return True


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(repr(key) for key in keys[:5]) + more
