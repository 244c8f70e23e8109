"""Records whether a failed request may have changed something, because a transaction that it began may be committed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Effects:
    """Whether one request may have changed something in the database."""

    def __init__(self) -> None:
        self.possible = False


_CURRENT: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextlib.contextmanager
def watched() -> Iterator[Effects]:
    """Records the effects of the block, and of tasks that are started in it."""
    effects = Effects()
    token = _CURRENT.set(effects)
    try:
        yield effects
    finally:
        _CURRENT.reset(token)


def are_possible() -> None:
    """Call this when a request gets a connection to the database: from now on it may change something."""
    effects = _CURRENT.get()
    if effects is not None:
        effects.possible = True
