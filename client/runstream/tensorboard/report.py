"""Messages to the user: a line of progress on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console

from runstream.tensorboard.follower import Totals

_AGAIN_S = 60.0  # the same warning, and the plain line of progress, come at most this often
_MAX_WARNINGS = 1_000


class ConsoleReport:
    """Messages go to stderr. May be used from several threads."""

    def __init__(self, console: Console, *, once: bool) -> None:
        self._console = console
        self._once = once
        self._warned_s: dict[str, float] = {}
        self._shown_s = time.monotonic()
        self._shown = Totals()
        self._status = console.status("looking for event files") if console.is_terminal else None

    def __enter__(self) -> ConsoleReport:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str, about: str = "") -> None:
        """Prints a warning, at most once a minute for the same `about`."""
        now_s = time.monotonic()
        about = about or text
        if now_s - self._warned_s.get(about, -_AGAIN_S) < _AGAIN_S:
            return
        if len(self._warned_s) > _MAX_WARNINGS:
            self._warned_s.clear()
        self._warned_s[about] = now_s
        self.say(f"runstream: {text}")

    def log(self, level: str, text: str) -> None:
        """Prints a warning or error of the transport. When the service is away, hundreds of files have the same one."""
        if level in ("warning", "error"):
            self.warn(text, text.partition(": ")[2] or text)

    def show(self, totals: Totals) -> None:
        """Shows the progress."""
        now_s = time.monotonic()
        if self._status is not None:
            self._status.update(progress_line(totals))
        elif totals != self._shown and now_s - self._shown_s >= _AGAIN_S:
            self._shown_s, self._shown = now_s, totals
            self.say(progress_line(totals))


def progress_line(totals: Totals) -> str:
    """The progress as one line: counts, and how much was read."""
    counts = (_counted(totals.points, "point"), _counted(totals.files, "file"), _counted(totals.runs, "run"))
    line = "{} of {} in {} stored".format(*counts)
    if totals.waiting_bytes:
        share = 100 * (1 - totals.waiting_bytes / max(1, totals.total_bytes))
        line += f", {share:.0f} % of {totals.total_bytes / 1e6:,.1f} MB read"
    for reason, count in sorted(totals.refused.items()):
        line += f", {count:,} refused ({reason})"
    return line


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
