"""What goes wrong in a demo with --keep, so that its run is worth looking at: healthy runs all look the same."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from runstream_service.demo.model import Samples

_FEWEST_STEPS = 100
_BRIGHTNESS = 30.0  # the factor by which the images of the bad batch are brighter
_SLOWER = 0.6  # the slow rank takes this share of its computing time in addition


@dataclass(frozen=True)
class Mishaps:
    """Which rank has which mishap at which step. No metric is made up: inputs are damaged, computing takes longer, and
    processes are lost."""

    damaged_rank: int
    damaged_step: int
    bright_rank: int
    bright_step: int
    slow_rank: int
    slow_step: int
    lost_step: int
    checkpoint_step: int

    def spoil(self, batch: Samples, rank: int, step: int) -> None:
        """Damages a batch in place if it belongs to a rank and step with a damaged input."""
        if (rank, step) == (self.damaged_rank, self.damaged_step):
            batch.images[0, 0] = np.nan
        if (rank, step) == (self.bright_rank, self.bright_step):
            batch.images[:] *= _BRIGHTNESS

    def slow_down(self, rank: int, step: int, computed_s: float) -> None:
        """Waits, as if its processor was overheated, if it is the slow rank."""
        if rank == self.slow_rank and step >= self.slow_step:
            time.sleep(computed_s * _SLOWER)

    def described(self) -> list[str]:
        """What a person can find in the run, one line for each mishap."""
        return [
            f"rank {self.slow_rank} computes slowly from step {self.slow_step:,} on (compute_ms); all wait for it",
            f"a damaged image makes the loss of rank {self.damaged_rank} NaN at step {self.damaged_step:,}",
            f"a bad batch makes the loss of rank {self.bright_rank} jump at step {self.bright_step:,}, for one step",
            f"the job was lost at step {self.lost_step:,}, and restarted from its checkpoint of step "
            f"{self.checkpoint_step:,}",
        ]


def mishaps_of(steps: int, ranks: int) -> Mishaps | None:
    """Mishaps that are spread over a run; None if the run is too short to see them."""
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
