"""How the ranks average their gradients: an all-reduce through shared memory, in place of a GPU cluster's NCCL."""

from __future__ import annotations

import threading
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np

from runstream_service.demo.model import Floats

# A rank that is this late is dead: the others must not wait for it forever.
_LATE_S = 60.0


class RanksGone(Exception):
    """Another rank died, or training was stopped."""


class Exchange:
    """Made by the parent, passed to every rank.

    Two tables, one for even and one for odd steps, so that one barrier a step is enough: a rank comes to write a table
    again only after a barrier that every reader of it has reached.
    """

    def __init__(self, context: SpawnContext, *, ranks: int, size: int) -> None:
        self._shape = (2, ranks, size)
        self._memory: Any = context.RawArray("d", 2 * ranks * size)
        self._barrier: Any = context.Barrier(ranks)
        self._tables: Floats | None = None

    def mean(self, step: int, rank: int, mine: Floats) -> Floats:
        """The mean of all ranks' arrays for this step. Waits for all of them. Raises RanksGone."""
        if self._tables is None:
            self._tables = np.frombuffer(self._memory, np.float64).reshape(self._shape)
        table = self._tables[step % 2]
        table[rank] = mine
        try:
            self._barrier.wait(_LATE_S)
        except threading.BrokenBarrierError as error:
            raise RanksGone from error
        mean: Floats = table.mean(0)
        return mean

    def stop(self) -> None:
        """Makes every rank raise RanksGone at its next exchange. For any process, at any time."""
        self._barrier.abort()
