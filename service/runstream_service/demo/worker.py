"""One rank: trains its replica on its shard and logs every step through the real client. Runs in its own process."""

from __future__ import annotations

import signal
import time
import traceback
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np

import runstream
from runstream_service.demo.exchange import Exchange, RanksGone
from runstream_service.demo.model import Momentum, Outcome, Perceptron, Samples, augmented

EXPERIMENT = "digits"
HIDDEN, BATCH, RATE = 128, 32, 0.05
TEST_EVERY = 100  # steps
_PROGRESS_EVERY_S = 0.1
_FLUSH_S = 30.0


@dataclass(frozen=True)
class Task:
    """The input of a rank. Only rank 0 has test samples."""

    run_id: str
    address: str
    rank: int
    ranks: int
    steps: int
    shard: Samples
    test: Samples | None


@dataclass(frozen=True)
class Progress:
    """The progress of a rank. Accuracy and throughput are running means over about fifty steps; single values jump."""

    rank: int
    step: int
    loss: float
    accuracy: float
    samples_per_s: float
    logged: int
    acknowledged: int


@dataclass
class Logged:
    """The points that a rank passed to log(), for comparison with those that are read back: key -> steps and values."""

    steps: dict[str, array[int]] = field(default_factory=dict)
    values: dict[str, array[float]] = field(default_factory=dict)

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        """Notes one log() call."""
        for key, value in metrics.items():
            self.steps.setdefault(key, array("q")).append(step)
            self.values.setdefault(key, array("d")).append(value)

    def __len__(self) -> int:
        return sum(map(len, self.values.values()))


@dataclass(frozen=True)
class Finished:
    """A rank has finished. Times are seconds since 1970: just before the first log(), and when all was acknowledged."""

    rank: int
    logged: Logged
    stats: runstream.RunStats
    began: float
    ended: float


@dataclass(frozen=True)
class Failed:
    """A rank ended with an exception."""

    rank: int
    why: str


Message = Progress | Finished | Failed


def work(task: Task, exchange: Exchange, reports: Connection) -> None:
    """The process's main function. SIGTERM ends it early, with the run marked as KILLED."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        reports.send(_Rank(task, exchange, reports).train())
    except (KeyboardInterrupt, RanksGone, BrokenPipeError):
        pass  # stopped; or another rank, or the parent, is gone: whoever began it has said why
    except Exception:
        reports.send(Failed(task.rank, traceback.format_exc()))


class _Rank:
    def __init__(self, task: Task, exchange: Exchange, reports: Connection) -> None:
        self._task = task
        self._exchange = exchange
        self._reports = reports
        self._model = Perceptron(HIDDEN, seed=1)
        self._optimizer = Momentum(self._model.parameters, rate=RATE, steps=task.steps)
        self._random = np.random.default_rng(task.rank)
        self._logged = Logged()
        self._reported_at = 0.0
        self._means: dict[str, float] = {}

    def train(self) -> Finished:
        """All steps, under one run handle."""
        task = self._task
        with runstream.start_run(
            EXPERIMENT,
            f"mlp, {task.ranks} ranks",
            run_id=task.run_id,
            rank=task.rank,
            attempt=0,
            address=task.address,
        ) as run:
            if task.rank == 0:
                run.log_params({"hidden": HIDDEN, "batch_per_rank": BATCH, "rate": RATE, "steps": task.steps})
                run.set_tags({"source": "runstream demo", "ranks": task.ranks})
            self._exchange.mean(-1, task.rank, self._model.parameters)  # all are up; the first step waits for nobody
            began = time.time()
            for step in range(task.steps):
                metrics = self._step(step)
                run.log(metrics, step=step)
                self._logged.add(metrics, step)
                self._report(run, metrics, step)
            run.flush(_FLUSH_S)
            ended = time.time()
            self._report(run, metrics, task.steps - 1)
            return Finished(task.rank, self._logged, run.stats(), began, ended)

    def _step(self, step: int) -> dict[str, float]:
        """One step of data-parallel training; returns its metrics."""
        began = time.perf_counter()
        outcome = self._learn()
        gradient = self._exchange.mean(step, self._task.rank, outcome.gradient)
        self._optimizer.update(gradient, step)
        metrics = {
            "loss": outcome.loss,
            "accuracy": outcome.accuracy,
            "grad_norm": float(np.linalg.norm(outcome.gradient)),
            "samples_per_s": BATCH / (time.perf_counter() - began),
        }
        last = step == self._task.steps - 1
        if self._task.test is not None and (step % TEST_EVERY == 0 or last):
            metrics["test_accuracy"] = self._model.accuracy(self._task.test)
        return metrics

    def _learn(self) -> Outcome:
        shard = self._task.shard
        chosen = self._random.integers(0, len(shard), BATCH)
        return self._model.learn(Samples(augmented(shard.images[chosen], self._random), shard.digits[chosen]))

    def _report(self, run: runstream.Run, metrics: Mapping[str, float], step: int) -> None:
        for key in ("loss", "accuracy", "samples_per_s"):
            self._means[key] = metrics[key] + 0.98 * (self._means.get(key, metrics[key]) - metrics[key])
        last = step == self._task.steps - 1
        if not last and time.monotonic() - self._reported_at < _PROGRESS_EVERY_S:
            return
        self._reported_at = time.monotonic()
        stats = run.stats()
        self._reports.send(
            Progress(
                self._task.rank,
                step + 1,
                self._means["loss"],
                self._means["accuracy"],
                self._means["samples_per_s"],
                stats.logged,
                stats.acknowledged,
            )
        )
