"""How the ranks average their gradients: an all-reduce through shared memory, in place of a GPU cluster's NCCL."""

from __future__ import annotations

import threading
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np

from runstream_service.demo.model import Floats

# A rank that is this late is considered dead, so that the others do not wait for it forever.
_LATE_S = 60.0


class RanksGone(Exception):
    """Another rank died, or training was stopped."""


class Exchange:
    """Created by the parent, and passed to every rank.

    It has two tables, one for even and one for odd steps, so that one barrier for each step is enough: before a rank
    writes to a table again, all readers of that table have reached a later barrier.
    """

    def __init__(self, context: SpawnContext, *, ranks: int, size: int) -> None:
        self._shape = (2, ranks, size)
        self._memory: Any = context.RawArray("d", 2 * ranks * size)
        self._barrier: Any = context.Barrier(ranks)
        self._tables: Floats | None = None

    def mean(self, step: int, rank: int, mine: Floats) -> Floats:
        """The mean of all ranks' arrays for this step. Waits for all ranks. Raises RanksGone."""
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
        """Makes every rank raise RanksGone at its next exchange. May be called in any process at any time."""
        self._barrier.abort()
