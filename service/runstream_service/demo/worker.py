"""One rank: trains its replica on its shard and logs every step through the real client. Runs in its own process."""

from __future__ import annotations

import math
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
from runstream_service.demo.mishaps import Mishaps
from runstream_service.demo.model import Floats, Momentum, Outcome, Perceptron, Samples, augmented, clipped

EXPERIMENT = "digits"
HIDDEN, BATCH, RATE = 128, 32, 0.05
LONGEST_GRADIENT = 10.0  # gradients are clipped to this norm; only a bad batch has a longer one
TEST_EVERY = 100  # steps
_PROGRESS_EVERY_S = 0.1
_FLUSH_S = 30.0


@dataclass(frozen=True)
class Checkpoint:
    """The state of the training before a step. It is the same on every rank, since all apply the same updates."""

    step: int
    parameters: Floats
    velocity: Floats


@dataclass(frozen=True)
class Task:
    """The input of a rank. Only rank 0 has test samples. With a checkpoint, it is the second attempt."""

    run_id: str
    address: str
    rank: int
    ranks: int
    steps: int
    shard: Samples
    test: Samples | None
    mishaps: Mishaps | None = None
    checkpoint: Checkpoint | None = None

    @property
    def attempt(self) -> int:
        """How often the job was restarted before."""
        return 0 if self.checkpoint is None else 1

    @property
    def first_step(self) -> int:
        """The first step of this attempt."""
        return 0 if self.checkpoint is None else self.checkpoint.step

    @property
    def loses_its_node(self) -> bool:
        """Whether this attempt ends early because its node is lost."""
        return self.mishaps is not None and self.attempt == 0


@dataclass(frozen=True)
class Progress:
    """The progress of a rank. Loss, accuracy and throughput are running means over about fifty steps."""

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
        """Adds the points of one log() call."""
        for key, value in metrics.items():
            self.steps.setdefault(key, array("q")).append(step)
            self.values.setdefault(key, array("d")).append(value)

    def __len__(self) -> int:
        return sum(map(len, self.values.values()))


@dataclass(frozen=True)
class Finished:
    """The result of an attempt of a rank. `began` is just before the first log(), `ended` when all points were
    acknowledged, both in seconds since 1970. `checkpoint`: where the next attempt begins, if this one ended early."""

    rank: int
    attempt: int
    logged: Logged
    stats: runstream.RunStats
    began: float
    ended: float
    checkpoint: Checkpoint | None = None


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
        pass  # stopped, or another rank or the parent has ended, which is reported there
    except Exception:
        reports.send(Failed(task.rank, traceback.format_exc()))


class _NodeLost(Exception):
    """Ends the first attempt of a demo with mishaps. Its run handle reports the run as failed."""


class _Rank:
    def __init__(self, task: Task, exchange: Exchange, reports: Connection) -> None:
        self._task = task
        self._exchange = exchange
        self._reports = reports
        self._model = Perceptron(HIDDEN, seed=1)
        self._optimizer = Momentum(self._model.parameters, rate=RATE, steps=task.steps)
        if task.checkpoint is not None:
            self._model.parameters[:] = task.checkpoint.parameters
            self._optimizer.velocity[:] = task.checkpoint.velocity
        self._checkpoint: Checkpoint | None = None
        self._random = np.random.default_rng((task.rank, task.attempt))
        self._logged = Logged()
        self._reported_at = 0.0
        self._means: dict[str, float] = {}

    def train(self) -> Finished:
        """All steps of this attempt, under one run handle."""
        task = self._task
        try:
            with runstream.start_run(
                EXPERIMENT,
                f"mlp, {task.ranks} ranks",
                run_id=task.run_id,
                rank=task.rank,
                attempt=task.attempt,
                address=task.address,
            ) as run:
                finished = self._train(run)
                if task.loses_its_node:
                    raise _NodeLost
        except _NodeLost:
            pass
        return finished

    def _train(self, run: runstream.Run) -> Finished:
        task = self._task
        if task.rank == 0 and task.attempt == 0:
            run.log_params({"hidden": HIDDEN, "batch_per_rank": BATCH, "rate": RATE, "steps": task.steps})
            run.set_tags({"source": "runstream demo", "ranks": task.ranks})
        # After this, all ranks have started, so that the first step waits for none of them.
        self._exchange.mean(task.first_step - 1, task.rank, self._model.parameters)
        began = time.time()
        for step in self._steps():
            self._take_checkpoint(step)
            metrics = self._step(step)
            run.log(metrics, step=step)
            self._logged.add(metrics, step)
            self._report(run, metrics, step)
        run.flush(_FLUSH_S)
        ended = time.time()
        self._report(run, metrics, step, at_once=True)
        return Finished(task.rank, task.attempt, self._logged, run.stats(), began, ended, self._checkpoint)

    def _steps(self) -> range:
        mishaps = self._task.mishaps
        end = mishaps.lost_step if mishaps is not None and self._task.loses_its_node else self._task.steps
        return range(self._task.first_step, end)

    def _take_checkpoint(self, step: int) -> None:
        mishaps = self._task.mishaps
        if mishaps is not None and step == mishaps.checkpoint_step and self._task.loses_its_node:
            self._checkpoint = Checkpoint(step, self._model.parameters.copy(), self._optimizer.velocity.copy())

    def _step(self, step: int) -> dict[str, float]:
        """One step of data-parallel training; returns its metrics."""
        began = time.perf_counter()
        outcome = self._learn(step)
        computed_s = time.perf_counter() - began
        gradient = self._exchange.mean(step, self._task.rank, clipped(outcome.gradient, norm=LONGEST_GRADIENT))
        self._optimizer.update(gradient, step)
        metrics = {
            "loss": outcome.loss,
            "accuracy": outcome.accuracy,
            "grad_norm": float(np.linalg.norm(outcome.gradient)),
            "samples_per_s": BATCH / (time.perf_counter() - began),
            "compute_ms": computed_s * 1_000,
        }
        last = step == self._task.steps - 1
        if self._task.test is not None and (step % TEST_EVERY == 0 or last):
            metrics["test_accuracy"] = self._model.accuracy(self._task.test)
        return metrics

    def _learn(self, step: int) -> Outcome:
        """The loss and the gradient of the next batch."""
        task, began = self._task, time.perf_counter()
        chosen = self._random.integers(0, len(task.shard), BATCH)
        batch = Samples(augmented(task.shard.images[chosen], self._random), task.shard.digits[chosen])
        if task.mishaps is None:
            return self._model.learn(batch)
        task.mishaps.spoil(batch, task.rank, step)
        outcome = self._model.learn(batch)
        task.mishaps.slow_down(task.rank, step, time.perf_counter() - began)
        return outcome

    def _report(self, run: runstream.Run, metrics: Mapping[str, float], step: int, *, at_once: bool = False) -> None:
        for key in ("loss", "accuracy", "samples_per_s"):
            if math.isfinite(metrics[key]):
                self._means[key] = metrics[key] + 0.98 * (self._means.get(key, metrics[key]) - metrics[key])
        last = step == self._task.steps - 1
        if not (at_once or last) and time.monotonic() - self._reported_at < _PROGRESS_EVERY_S:
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
