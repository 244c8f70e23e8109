"""Whether a request that failed may have done something: what it began may be committed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Effects:
    """Of one request."""

    def __init__(self) -> None:
        self.possible = False


_CURRENT: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextlib.contextmanager
def watched() -> Iterator[Effects]:
    """Of what is done in the block, and in tasks that begin in it."""
    effects = Effects()
    token = _CURRENT.set(effects)
    try:
        yield effects
    finally:
        _CURRENT.reset(token)


def are_possible() -> None:
    """From here on: somebody has a connection to the database."""
    effects = _CURRENT.get()
    if effects is not None:
        effects.possible = True
