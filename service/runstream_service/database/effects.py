"""Records whether a failed request may have had effects: a transaction that it began may be committed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Effects:
    """Whether one request may have had effects."""

    def __init__(self) -> None:
        self.possible = False


_CURRENT: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextlib.contextmanager
def watched() -> Iterator[Effects]:
    """The effects of the block, and of tasks that are started in it."""
    effects = Effects()
    token = _CURRENT.set(effects)
    try:
        yield effects
    finally:
        _CURRENT.reset(token)


def are_possible() -> None:
    """Notes that effects are possible from now on: the request has got a connection to the database."""
    effects = _CURRENT.get()
    if effects is not None:
        effects.possible = True
