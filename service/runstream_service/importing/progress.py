"""Counts and problems of an import. May be used from several threads."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from runstream._masking import mask_secrets

MAX_KEPT = 1_000  # lines; beyond them, problems are counted alone


@dataclass
class Progress:
    """What was done. `counts` has what was `new`, and what `was there`, by its kind."""

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
        """Counts things of a kind, such as runs."""
        with self._lock:
            (self.new if is_new else self.found)[kind] += count

    def leave_out(self, kind: str, count: int = 1) -> None:
        """Counts what is not brought, on purpose."""
        with self._lock:
            self.left_out[kind] += count

    def run_seen(self, count: int = 1) -> None:
        """Some runs are dealt with."""
        with self._lock:
            self.seen_runs += count

    def problem(self, line: str, about: str = "") -> None:
        """Something of the source is not at the service, or is another thing there. What is `about` the same is said
        once, and counted."""
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
        """Something to know that is no failure; what is `about` the same is said once."""
        with self._lock:
            if about:
                self._said[about] += 1
                if self._said[about] > 1:
                    return
            if len(self.notes) < MAX_KEPT:
                self.notes.append(line)
