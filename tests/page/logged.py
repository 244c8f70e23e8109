"""Runs that tests of charts look at, logged by the real client."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterable, Mapping

import runstream

EXPERIMENT = "charts"
SPIKE = 1e3
NAN_AT = 120
_TIME_US = 1_767_225_600_000_000  # 2026-01-01


def log_run(
    address: str,
    name: str,
    points: Iterable[tuple[int, Mapping[str, float]]],
    *,
    run_id: str = "",
    rank: int = 0,
    attempt: int = 0,
    params: Mapping[str, object] | None = None,
    end: bool = True,
) -> str:
    """Logs points, a second apart, and waits until they are stored."""
    run = runstream.start_run(
        EXPERIMENT, name, run_id=run_id or uuid.uuid4().hex, rank=rank, attempt=attempt, params=params, address=address
    )
    for count, (step, metrics) in enumerate(points, 1):
        run.log(metrics, step=step, time_unix_us=_TIME_US + step * 1_000_000)
        if count % 100_000 == 0:
            assert run.flush(60)
    assert run.flush(60)
    run_id = str(run.run_id)
    if end:
        run.finish()
    return run_id


def with_spike(address: str, points: int, at: int) -> str:
    """A run of one long metric, of which a single point is far away from all others."""
    noise = random.Random(5)
    values = ((step, {"loss": 1.0 + noise.random()}) for step in range(points))
    return log_run(address, "long", ((s, {"loss": SPIKE} if s == at else v) for s, v in values))


def small(address: str, name: str, *, seed: int, points: int = 400, metrics: int = 4, end: bool = True) -> str:
    """A run of some metrics, with a param that the value follows from."""
    noise = random.Random(seed)
    rate = 10 ** -(1 + seed % 4)

    def values(step: int) -> dict[str, float]:
        loss = 3 * math.exp(-step / (40 + 30 * (seed % 5))) + 0.15 * noise.random() + 0.1 * (seed % 3)
        accuracy = 1 - loss / 4
        keys = {"train/loss": loss, "train/accuracy": accuracy, "val/loss": loss * 1.1, "lr": rate / (1 + step / 100)}
        more = {f"layers/{number}/grad_norm": noise.random() * loss + number for number in range(metrics - 4)}
        return {**keys, **more, "tokens": step * 4096.0}

    params = {"lr": rate, "seed": seed, "batch": 32}
    return log_run(address, name, ((step, values(step)) for step in range(points)), params=params, end=end)


def of_ranks(address: str, ranks: int = 4, slow: int = 2, points: int = 600) -> str:
    """A run of several ranks that was restarted once; one becomes slow in the middle, and one logs a NaN."""
    run_id = uuid.uuid4().hex
    for attempt, (first, last) in enumerate([(0, points // 2 + 50), (points // 2, points)]):
        for rank in range(ranks):
            noise = random.Random(100 * attempt + rank)
            values = (
                (
                    step,
                    {
                        "step_time": (0.5 if rank == slow and step > points // 3 else 0.35) + 0.02 * noise.random(),
                        "loss": math.nan
                        if (rank, step) == (1, NAN_AT)
                        else 2 * math.exp(-step / 200) + 0.05 * noise.random(),
                    },
                )
                for step in range(first, last)
            )
            log_run(address, "four ranks", values, run_id=run_id, rank=rank, attempt=attempt)
    return run_id


def not_finite(address: str) -> str:
    """A run with one NaN and both infinities."""
    odd = {30: math.nan, 60: math.inf, 80: -math.inf}
    return log_run(address, "diverged", ((step, {"loss": odd.get(step, 5 - step / 25)}) for step in range(100)))
