"""Counts and problems of an import. May be used from several threads."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from runstream._masking import mask_secrets

MAX_KEPT = 1_000  # lines of problems and of notes; further ones are only counted


@dataclass
class Progress:
    """What an import has done so far. The counters have kinds such as "runs" as keys: `new` counts what was imported,
    `found` what the service already had."""

    new: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem_count: int = 0
    expected_runs: int | None = None
    seen_runs: int = 0
    _said: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, count: int = 1, *, is_new: bool = True) -> None:
        """Adds to the count of a kind, such as "runs"."""
        with self._lock:
            (self.new if is_new else self.found)[kind] += count

    def leave_out(self, kind: str, count: int = 1) -> None:
        """Counts what is not imported on purpose, such as deleted runs."""
        with self._lock:
            self.left_out[kind] += count

    def run_seen(self, count: int = 1) -> None:
        """Counts runs that are done, whether they were imported or not."""
        with self._lock:
            self.seen_runs += count

    def problem(self, line: str, about: str = "") -> None:
        """Records that something in the source is missing in the service, or different there. Of problems with the same
        `about`, only the first is kept; all are counted."""
        line = mask_secrets(line)
        with self._lock:
            if about:
                self._said[about] += 1
                if self._said[about] > 1:
                    self.problem_count += 1
                    return
            self.problem_count += 1
            if len(self.problems) < MAX_KEPT:
                self.problems.append(line)

    def note(self, line: str, about: str = "") -> None:
        """Records something that users should know and that is not a failure. Of notes with the same `about`, only the
        first is kept."""
        with self._lock:
            if about:
                self._said[about] += 1
                if self._said[about] > 1:
                    return
            if len(self.notes) < MAX_KEPT:
                self.notes.append(line)
