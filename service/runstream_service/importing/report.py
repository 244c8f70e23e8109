"""Shows the progress of an import: as a bar on a terminal, otherwise as a line every minute."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from runstream_service.importing.progress import Progress

_EVERY_S, _PLAIN_EVERY_S = 0.2, 60.0


class Report:
    """Shows `progress` on stderr while its context is entered."""

    def __init__(self, progress: Progress, verb: str = "") -> None:
        """`verb`: what is done with the runs, such as "compared"; empty for an import."""
        self._progress = progress
        self._verb = verb
        self._console = Console(stderr=True, highlight=False)
        self._begun_s = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="import-report", daemon=True)

    def __enter__(self) -> Report:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._over.wait(_PLAIN_EVERY_S):
                self._console.print(self._line(), markup=False, soft_wrap=True)
            return
        columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        with Bars(*columns, TimeElapsedColumn(), console=self._console, transient=True) as bars:
            task = bars.add_task("")
            while not self._over.wait(_EVERY_S):
                progress = self._progress
                bars.update(
                    task, completed=progress.seen_runs, total=progress.expected_runs, description=self._counts()
                )

    def _line(self) -> str:
        progress = self._progress
        of = f" of {progress.expected_runs:,}" if progress.expected_runs is not None else ""
        return f"{progress.seen_runs:,}{of} runs, {self._counts()}"

    def _counts(self) -> str:
        progress = self._progress
        if self._verb:
            return f"{self._verb}, {progress.problem_count:,} problems"
        points = progress.new["points"]
        rate = points / max(0.1, time.monotonic() - self._begun_s)
        problems = f", {progress.problem_count:,} problems" if progress.problem_count else ""
        return f"{points:,} new points ({rate:,.0f}/s), {progress.found['points']:,} already there{problems}"
