"""Messages of a long benchmark about its progress."""

from __future__ import annotations

import time

from rich.console import Console

_console = Console(stderr=True)


def say(what: str) -> None:
    """Prints a line with the time on standard error."""
    _console.print(f"{time.strftime('%H:%M:%S')} {what}", highlight=False)
