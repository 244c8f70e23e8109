"""Shows progress while the ranks train: a live table, or a few plain lines if there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runstream_service.demo.worker import Progress

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_LINES = 5


class View(Protocol):
    """Shows progress; a context manager."""

    def show(self, progress: Progress) -> None:
        """Shows the progress of a rank."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None: ...


def view_for(console: Console, *, ranks: int, steps: int) -> View:
    """The view for this console: live on a terminal, plain lines elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console, ranks=ranks, steps=steps)
    return PlainView(console, ranks=ranks, steps=steps)


class LiveView:
    """A table with one line per rank, redrawn about ten times a second."""

    def __init__(self, console: Console, *, ranks: int, steps: int) -> None:
        self._ranks = ranks
        self._steps = steps
        self._latest: dict[int, Progress] = {}
        self._losses: dict[int, float] = {}  # step -> running mean of the loss, of rank 0
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=10)

    def show(self, progress: Progress) -> None:
        """Stores the progress for the next redraw."""
        if not self._latest:
            self._began = time.monotonic()
        self._latest[progress.rank] = progress
        if progress.rank == 0:
            self._losses[progress.step] = progress.loss

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> Group:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for heading in ("rank", "", "step", "loss", "accuracy", "samples/s", "logged", "stored"):
            table.add_column(heading, justify="right", no_wrap=True)
        for rank in range(self._ranks):
            table.add_row(*self._row(rank, self._latest.get(rank)))
        return Group(table, self._summary())

    def _row(self, rank: int, progress: Progress | None) -> list[str | ProgressBar | Text]:
        if progress is None:
            return [str(rank), Text("starting", style="dim"), *[""] * 6]
        done = progress.logged == progress.acknowledged and progress.step == self._steps
        return [
            str(rank),
            ProgressBar(total=self._steps, completed=progress.step, width=10),
            f"{progress.step:,}",
            f"{progress.loss:.3f}",
            f"{progress.accuracy:.1%}",
            f"{progress.samples_per_s:,.0f}",
            f"{progress.logged:,}",
            Text(f"{progress.acknowledged:,}", style="green" if done else ""),
        ]

    def _summary(self) -> Text:
        acknowledged = sum(progress.acknowledged for progress in self._latest.values())
        seconds = time.monotonic() - self._began
        text = Text(no_wrap=True, overflow="crop")
        if acknowledged:
            text.append(f"{acknowledged:,} points stored, {acknowledged / seconds:,.0f} per second", style="bold")
        text.append("\nloss of rank 0 ", style="dim").append(sparkline(list(self._losses.values()), 50), style="cyan")
        return text


class PlainView:
    """Prints a line whenever the slowest rank has done another fifth of its steps."""

    def __init__(self, console: Console, *, ranks: int, steps: int) -> None:
        self._console = console
        self._ranks = ranks
        self._steps = steps
        self._latest: dict[int, Progress] = {}
        self._told = 0

    def show(self, progress: Progress) -> None:
        """Prints a line if the slowest rank has done another fifth of its steps."""
        self._latest[progress.rank] = progress
        slowest = min(self._latest.values(), key=lambda one: one.step)
        fifths = slowest.step * _PLAIN_LINES // self._steps
        if len(self._latest) < self._ranks or fifths <= self._told:
            return
        self._told = fifths
        loss = sum(one.loss for one in self._latest.values()) / self._ranks
        acknowledged = sum(one.acknowledged for one in self._latest.values())
        self._console.print(
            f"  step {slowest.step:,} of {self._steps:,}: loss {loss:.3f}, {acknowledged:,} points stored"
        )

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        pass


def sparkline(values: list[float], width: int) -> str:
    """The values as a line of at most `width` block characters; the height of each shows the mean of some values."""
    if not values:
        return ""
    width = min(width, len(values))
    shares = [values[len(values) * n // width : len(values) * (n + 1) // width] for n in range(width)]
    means = [sum(share) / len(share) for share in shares]
    low, span = min(means), max(means) - min(means) or 1.0
    return "".join(_BLOCKS[round((mean - low) / span * (len(_BLOCKS) - 1))] for mean in means)
