"""Follows the journals whose runs ask for system metrics, and writes a journal of its own for each of them.

The agent's transport sends these journals like all others. If an agent dies, what it has written is sent, and the next
agent begins a new journal. Steps count from the beginning of the followed journal, so they continue.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstream._points_journal import Point, PointsJournal
from runstream._repetition import Repetition
from runstream.journal import Directory, NewerVersion
from runstream.journal.layout import WRITER_LOCK
from runstream.journal.locks import is_locked
from runstream.journal.reader import JournalReader
from runstream.system_metrics.samplers import Sampler, samplers_of_this_machine

INTERVAL_VARIABLE = "RUNSTREAM_SYSTEM_METRICS_INTERVAL_S"
_INTERVAL_S, _LEAST_INTERVAL_S = 10.0, 0.1
_SCAN_S = 1.0  # how often to look for new journals, and for followed ones that have ended
_PREFIX = "system/"


@dataclass
class _Followed:
    """A journal whose run asks for system metrics. `points` is the agent's own journal for it; None if that could not
    be made."""

    path: Path
    began_unix_us: int
    points: PointsJournal | None


class SystemMetrics:
    """Called by the agent's main loop. Never raises."""

    def __init__(
        self,
        directory: Directory,
        warn: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
        samplers: Callable[[Callable[[str], None]], list[Sampler]] = samplers_of_this_machine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._warn_every_time = warn
        self._repetition = Repetition()
        self._interval_s = _interval_s(environ, warn)
        self._make_samplers = samplers
        self._clock = clock
        self._samplers: list[Sampler] | None = None  # made when the first run asks
        self._followed: dict[str, _Followed] = {}
        self._seen: set[str] = set()  # names of journals that were read, whether they ask or not
        self._scanned_s = self._sampled_s = float("-inf")  # by the clock

    @property
    def active(self) -> bool:
        """Whether a run is followed, so that the agent must not end."""
        return bool(self._followed)

    def tick(self) -> None:
        """Scans for journals and samples, if either is due."""
        now_s = self._clock()
        if now_s < self._scanned_s + _SCAN_S and now_s < self._sampled_s + self._interval_s:
            return
        if now_s >= self._scanned_s + _SCAN_S:
            self._scanned_s = now_s
            self._scan()
        if self._followed and now_s >= self._sampled_s + self._interval_s:
            self._sampled_s = now_s
            self._write(time.time_ns() // 1_000)

    def close(self) -> None:
        """Finishes the agent's journals, as it ends; the next agent begins new ones."""
        for followed in self._followed.values():
            _finish(followed)
        self._followed.clear()

    def _warn(self, text: str) -> None:
        """Warns once, as a driver that fails fails every ten seconds."""
        if self._repetition.is_new(text):
            self._warn_every_time(text)

    def _scan(self) -> None:
        present = {path.name: path for path in self._directory.journals()}
        for name, followed in list(self._followed.items()):
            if not is_locked(followed.path / WRITER_LOCK):
                _finish(self._followed.pop(name))
        self._seen &= present.keys()
        for name in present.keys() - self._seen:
            self._seen.add(name)
            self._consider(present[name])

    def _consider(self, path: Path) -> None:
        try:
            reader = JournalReader(path, quarantine=False)
            create = dict(reader.create)
            reader.close()
        except (OSError, NewerVersion, ValueError):
            return
        if create.get("system_metrics") and is_locked(path / WRITER_LOCK):
            self._follow(path, create)

    def _follow(self, path: Path, create: dict[str, Any]) -> None:
        if self._samplers is None:
            self._samplers = self._make_samplers(self._warn)
            self._sampled_s = self._clock()  # CPU and network are measured from here on
        if not self._samplers:
            return
        own = {**create, "system_metrics": False, "ends_run": False, "pid": os.getpid()}
        try:
            points: PointsJournal | None = PointsJournal(self._directory, own)
        except OSError as error:
            self._warn(f"system metrics of run {create.get('run_id')} cannot be written: {error}")
            points = None
        self._followed[path.name] = _Followed(path, int(create.get("time_unix_us") or time.time_ns() // 1_000), points)

    def _write(self, now_unix_us: int) -> None:
        values = self._sample()
        if not values or self._directory.is_full():
            return  # the room that is left in the directory is for the training
        for followed in self._followed.values():
            if followed.points is None:
                continue
            step = max(0, now_unix_us - followed.began_unix_us) // round(self._interval_s * 1e6)
            points = [Point(_PREFIX + name, round(value, 1), step, now_unix_us) for name, value in values.items()]
            try:
                followed.points.log_points(points, now_unix_us)
            except OSError as error:
                self._warn(f"system metrics cannot be written: {error}")
                _finish(followed)
                followed.points = None
        self._directory.ring_bell()

    def _sample(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for sampler in self._samplers or ():
            values.update(self._sample_one(sampler))
        return values

    def _sample_one(self, sampler: Sampler) -> dict[str, float]:
        try:
            return sampler.sample()
        except Exception as error:  # whatever a driver raises, the other samplers continue
            self._warn(f"system metrics: {type(sampler).__name__}: {error!r}")
            return {}


def _finish(followed: _Followed) -> None:
    if followed.points is not None:
        with contextlib.suppress(OSError):
            followed.points.finish()
        followed.points.close()


def _interval_s(environ: Mapping[str, str], warn: Callable[[str], None]) -> float:
    text = environ.get(INTERVAL_VARIABLE, "").strip()
    if not text:
        return _INTERVAL_S
    with contextlib.suppress(ValueError):
        interval_s = float(text)
        if _LEAST_INTERVAL_S <= interval_s < float("inf"):
            return interval_s
    warn(f"{INTERVAL_VARIABLE}={text!r} is not a number of at least {_LEAST_INTERVAL_S}; using {_INTERVAL_S:g}")
    return _INTERVAL_S
