"""Abandons tasks: they are cancelled, and their end is not waited for."""

from __future__ import annotations

import asyncio
from typing import Any


def abandon(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks without waiting for their end, which may take as long as a connection hangs. asyncio does not report
    their exceptions as unhandled."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(_consume_outcome)


def _consume_outcome(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
