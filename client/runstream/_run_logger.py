"""Reports to the user, and limits how often. Uses the logger "runstream" and no Python warnings, so that `python -W
error` cannot make log() raise.

What concerns log() is reported by the recorder's thread; the `note_` methods only store a note for it, as a slow or
broken log handler must not delay training.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from runstream._repetition import MAX_KEYS, Repetition, some

if TYPE_CHECKING:
    from runstream._run_stats import RunStats
    from runstream._settings import Settings

logger = logging.getLogger("runstream")


class RunLogger:
    """Warnings of one run: each once, or at most once a minute."""

    def __init__(self, run_id: str, address: str, max_points: int) -> None:
        self.run_id = run_id
        self._address = address
        self._max_points = max_points
        # Any thread appends without a lock (deque.append is atomic). When it is full, the oldest notes are dropped:
        # they are only texts, the counts are in the buffer.
        self._notes: deque[tuple[str, str]] = deque(maxlen=MAX_KEYS)
        self._warned: set[str] = set()
        self._repetition = Repetition()
        self._early_time: tuple[int, str] | None = None
        self._full_seen = 0
        self._dropped_entries = 0

    def note_refused(self, key: str, why: str) -> None:
        """Notes a refused value, step or key; the recorder's thread writes the warning. Any thread may call it."""
        if key not in self._warned:
            self._notes.append((key, why))

    def note_early_time(self, time_unix_us: int, unit: str) -> None:
        """Notes a time that looks as if it were in another unit. Any thread may call it."""
        self._early_time = time_unix_us, unit

    def not_ready(self, key: str, waited_s: float, give_up_after_s: float) -> None:
        """Reports a value that its device has not computed for a long time."""
        self.warn(
            "a value of metric %r has not been computed by its device for %.0f s; everything else is stored meanwhile. "
            "A value that is not computed %.0f s after log(), or when the run ends, is refused as not_ready (said once "
            "for this key)",
            key,
            waited_s,
            give_up_after_s,
        )

    def flush(self, refused: Mapping[str, int]) -> None:
        """Writes the notes as warnings, and a warning if points were refused because the buffer was full."""
        while self._notes:
            key, why = self._notes.popleft()
            if key not in self._warned and len(self._warned) < MAX_KEYS:
                self._warned.add(key)
                self.warn("metric %r %s; refused (said once for this key, counted in stats().refused)", key, why)
        early, self._early_time = self._early_time, None
        if early is not None:
            self.warn_once(
                "early_time",
                "time_unix_us=%d was logged: microseconds since 1970 are expected, such as time.time_ns() // 1000, and "
                "this looks like %s. Such points are stored as they are, at the beginning of 1970 (said once)",
                *early,
            )
        full = refused.get("buffer_full", 0)
        if full > self._full_seen and self._repetition.is_due("full"):
            self.warn(
                "the buffer is full: the disk accepts nothing, or less than is logged; %d more points were refused, %d "
                "in all. RUNSTREAM_BUFFER_POINTS and RUNSTREAM_BUFFER_BYTES set its bounds",
                full - self._full_seen,
                full,
            )
            self._full_seen = full

    def pass_on(self, level: str, text: str) -> None:
        """Passes on what the agent reports."""
        self._emit(getattr(logging, level.upper(), logging.WARNING) if level.isalpha() else logging.WARNING, "%s", text)

    def not_written(self, why: OSError, max_points: int) -> None:
        """Reports that the journal cannot be written."""
        if self._repetition.is_due("disk"):
            self.warn(
                "its journal cannot be written (%s); training continues, up to %d points wait in memory, and are lost "
                "if the process dies; the disk is tried again every second. Make room or choose another directory with "
                "RUNSTREAM_DIR",
                why,
                max_points,
            )

    def sends_from_memory(self) -> None:
        """Reports that a thread of this process sends what the disk does not accept."""
        self.info(
            "as the disk accepts nothing, a thread of this process sends the points from memory while the service can "
            "be reached"
        )

    def written_again(self, path: str) -> None:
        """Reports that the journal can be written again."""
        self._emit(logging.INFO, "the journal %s can be written again", path)

    def moved(self, before: str, was_read: bool) -> None:
        """Reports that the service has assigned another run id than `before`, which was derived from the launcher."""
        if was_read:
            self.warn(
                "run_id was read before the service had answered, and has changed since: the launcher gave this job "
                "the same id as an earlier job, whose run %s has ended or is in another workspace; points go to this "
                "run",
                before,
            )
        else:
            self.info(
                "the launcher gave this job the same id as an earlier job, whose run %s has ended or is in another "
                "workspace; points go to this run",
                before,
            )

    def entry_refused(self, why: Exception) -> None:
        """Reports an invalid param or tag."""
        if self._repetition.is_new(str(why)):
            self.warn("refused: %s (said once)", why)

    def params_changed(self, keys: list[str]) -> None:
        """Reports params that were set twice, with different values, before the first one was written."""
        fresh = [key for key in keys if self._repetition.is_new(f"param {key}")]
        if fresh:
            self.warn(
                "param %s refused: it has another value already, and params are written once (said once for each)",
                some(fresh),
            )

    def entries_full(self, what: str, keys: list[str], bound_bytes: int) -> None:
        """Reports params or tags that were dropped because too many wait."""
        self._dropped_entries += len(keys)
        if self._repetition.is_due("entries"):
            self.warn(
                "%s %s refused: %d MiB of params and tags already wait to be written to the journal; %d refused so far",
                what,
                some(keys),
                bound_bytes >> 20,
                self._dropped_entries,
            )

    def warn_limited(self, about: str, message: str, *args: object) -> None:
        """Writes a warning at most once a minute."""
        if self._repetition.is_due(about):
            self.warn(message, *args)

    def warn_once(self, about: str, message: str, *args: object) -> None:
        """Writes a warning at most once per run."""
        if self._repetition.is_first(about):
            self.warn(message, *args)

    def warn(self, message: str, *args: object) -> None:
        """Writes a warning every time."""
        self._emit(logging.WARNING, message, *args)

    def info(self, message: str, *args: object) -> None:
        """Writes an informational message every time."""
        self._emit(logging.INFO, message, *args)

    def recording_crashed(self, error: BaseException) -> None:
        """Reports that a bug has ended the recording of this run."""
        self._emit(
            logging.ERROR,
            "recording died because of a bug in runstream; from now on points are refused and counted, training "
            "continues. Please report the bug with the traceback",
            error=error,
        )

    def no_threads(self, error: BaseException) -> None:
        """Reports that the thread of this process could not be started."""
        self.warn_once(
            "threads",
            "no thread can be started (%s); training continues, up to %d points wait in memory, and each log() tries "
            "again. Raise the limit of threads (ulimit -u, or the pids limit of the container)",
            error,
            self._max_points,
        )

    def finishing(self, wait_s: float, points: int, on_devices: int, calls: int) -> None:
        """Reports what the end of the run waits for. `on_devices` points wait for their devices, `points` for the
        service."""
        waits = []
        if points > 0 or calls or not on_devices:
            waits.append(f"the service at {self._address}, which has not stored {points} points and {calls} calls yet")
        if on_devices:
            waits.append(f"{on_devices} values that their device has not computed yet")
        self.warn("waiting up to %.0f s for %s; Ctrl-C to leave without them", wait_s, ", and for ".join(waits))

    def finished(self, arrived: bool, stats: RunStats, settings: Settings, directory: str) -> None:
        """Reports what became of everything, when the handle is closed. `directory` is that of all journals."""
        refused = dict(stats.refused) or "none"
        if settings.mode == "offline":
            self.info(
                "%d points are on disk in %s; refused: %s. Send them with `runstream sync %s`",
                stats.on_disk,
                directory,
                refused,
                directory,
            )
            return
        left = ""
        if stats.on_disk or stats.pending_calls:
            left = f"; {stats.on_disk} points, and {stats.pending_calls} params, tags and ends of the run, "
            left += _how_they_are_sent(directory) if directory else "were in memory and are lost"
        if arrived:
            self.info("%d points are acknowledged%s; refused: %s", stats.acknowledged, left, refused)
        else:
            self.warn(
                "finished, but not everything has reached the service at %s: %d points are acknowledged%s; refused: "
                "%s; last error: %s",
                self._address,
                stats.acknowledged,
                left,
                refused,
                stats.last_error or "none",
            )

    def _emit(self, level: int, message: str, *args: object, error: BaseException | None = None) -> None:
        with contextlib.suppress(Exception):  # the program's log handler is broken, and there is no other place for it
            logger.log(level, "run %s: " + message, self.run_id, *args, exc_info=error)


_said = Repetition()  # about this process


def warn_about_process(message: str, *args: object, about: str = "") -> None:
    """Writes a warning about this process: once, or with `about`, at most once a minute."""
    if _said.is_due(about) if about else _said.is_first(message):
        with contextlib.suppress(Exception):  # the program's log handler is broken
            logger.warning(message, *args)


def _how_they_are_sent(directory: str) -> str:
    return (
        f"are on disk in {directory} and are sent later: by the agent if it outlives the job, else by the next client "
        f"that uses this directory, or by `runstream sync {directory}`"
    )
