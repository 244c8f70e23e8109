"""What goes wrong in a demo that is kept: the run should be worth looking at, and healthy ones all look the same."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from runstream_service.demo.model import Samples

_FEWEST_STEPS = 100
_BRIGHTNESS = 30.0  # of the images in the bad batch; all of it that a model can be wrong about
_SLOWER = 0.6  # the share of its computing time that the slow rank takes in addition


@dataclass(frozen=True)
class Mishaps:
    """Ranks and steps. No value is made up: what is spoilt is an input, the time to compute, a process."""

    damaged_rank: int
    damaged_step: int
    bright_rank: int
    bright_step: int
    slow_rank: int
    slow_step: int
    lost_step: int
    checkpoint_step: int

    def spoil(self, batch: Samples, rank: int, step: int) -> None:
        """Damages a batch in place, if it is its turn."""
        if (rank, step) == (self.damaged_rank, self.damaged_step):
            batch.images[0, 0] = np.nan
        if (rank, step) == (self.bright_rank, self.bright_step):
            batch.images[:] *= _BRIGHTNESS

    def slow_down(self, rank: int, step: int, computed_s: float) -> None:
        """Waits in place of a processor that is too hot, if it is the slow rank."""
        if rank == self.slow_rank and step >= self.slow_step:
            time.sleep(computed_s * _SLOWER)

    def told(self) -> list[str]:
        """What a person finds in the run, a line each."""
        return [
            f"rank {self.slow_rank} computes slowly from step {self.slow_step:,} on: compute_ms, and all wait for it",
            f"a damaged image makes the loss of rank {self.damaged_rank} NaN at step {self.damaged_step:,}",
            f"a bad batch makes the loss of rank {self.bright_rank} jump at step {self.bright_step:,}, for one step",
            f"the job was lost at step {self.lost_step:,}, and began again at its checkpoint of step "
            f"{self.checkpoint_step:,}",
        ]


def mishaps_of(steps: int, ranks: int) -> Mishaps | None:
    """Spread over a run; None for one that is too short to see them."""
    if steps < _FEWEST_STEPS:
        return None
    return Mishaps(
        slow_rank=2 % ranks,
        slow_step=steps // 4,
        damaged_rank=1 % ranks,
        damaged_step=steps * 2 // 5,
        bright_rank=3 % ranks,
        bright_step=steps * 11 // 20,
        checkpoint_step=steps * 13 // 20,
        lost_step=steps * 3 // 4,
    )
