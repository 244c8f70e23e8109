"""What a long benchmark says while it runs."""

from __future__ import annotations

import time

from rich.console import Console

_console = Console(stderr=True)


def say(what: str) -> None:
    """A line on the standard error, with the time."""
    _console.print(f"{time.strftime('%H:%M:%S')} {what}", highlight=False)
