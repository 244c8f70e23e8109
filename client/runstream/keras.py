"""Keras 3, with any backend: `model.fit(..., callbacks=[RunstreamCallback("digits")])`.

docs/frameworks.md describes it. Needs the package `keras`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras.callbacks import Callback

from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun
from runstream._identity import rank_of

if TYPE_CHECKING:
    from runstream.run import Run

__all__ = ["RunstreamCallback"]


class RunstreamCallback(Callback):  # type: ignore[misc]  # Keras is not installed where types are checked
    """Logs each epoch to a run, which starts and ends with `fit`. `evaluate` with the callback logs `test_loss` and the
    like to the same run.

    Once the callback is made, nothing raises, and nothing waits for the network before the end of the training.
    """

    def __init__(
        self,
        experiment: str | None = None,
        name: str | None = None,
        *,
        run: Run | None = None,
        every_n_batches: int | None = None,
        all_ranks: bool = False,
        **start: Any,
    ) -> None:
        """Raises TypeError or ValueError for a wrong argument.

        Args:
            experiment, name: As for `start_run`.
            run: An open run to log to, instead of one that is started. It is left open.
            every_n_batches: Each time this many batches are done, log the metrics of the epoch so far, as `batch/loss`
                and so on, with the number of batches as step; None: log epochs only.
            all_ranks: Each process of a distributed training logs to the same run; False: only rank 0.
            start: Further arguments of `start_run`, such as `run_id` and `attempt` for a training that is resumed,
                `params`, `tags` or `address`.
        """
        super().__init__()
        if every_n_batches is not None and (isinstance(every_n_batches, bool) or not isinstance(every_n_batches, int)):
            raise TypeError(f"every_n_batches must be an int or None, not {type(every_n_batches).__name__}")
        if every_n_batches is not None and every_n_batches < 1:
            raise ValueError(f"every_n_batches must be at least 1, not {every_n_batches}")
        self._run = FrameworkRun(run, experiment=experiment, name=name, **start)
        self._every_n_batches = every_n_batches
        self._all_ranks = all_ranks
        self._is_training = False
        self._epoch = 0
        self._batches_before = 0  # batches of the epochs that are over
        self._batches = 0  # batches so far
        self._logged_batches = 0  # batches up to the last point

    @property
    def run(self) -> Run:
        """The run, started or opened again if it was not open."""
        return self._run.handle()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Starts the run, and logs the optimizer's configuration and the number of epochs as params."""
        if self._is_training:  # an exception ended the last training; callbacks are not called then
            self._run.finish("FAILED")
        self._is_training = True
        self._batches = self._batches_before = self._logged_batches = self._iterations()
        if self._logs_here:
            self._run.handle().log_params(flat_params(self._hyperparameters()))

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes how many batches there were before this epoch."""
        self._epoch = epoch
        self._batches_before = self._batches

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Logs the metrics of the epoch so far, every `every_n_batches` batches."""
        self._batches = self._batches_before + batch + 1
        every = self._every_n_batches
        # `batch` may grow by more than one: Keras calls this once for all `steps_per_execution`.
        if every is not None and self._batches // every > self._logged_batches // every:
            self._logged_batches = self._batches
            self._log({f"batch/{key}": value for key, value in (logs or {}).items()}, self._batches)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Logs the metrics of the epoch, `val_loss` and the like among them, with its number as step."""
        self._log(logs or {}, epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Ends the run."""
        self._is_training = False
        self._run.finish()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Logs an evaluation that is not part of a training."""
        if not self._is_training:
            self._log({f"test_{key}": value for key, value in (logs or {}).items()}, self._epoch)
            self._run.finish()

    def _log(self, metrics: Mapping[str, Any], step: int) -> None:
        if metrics and self._logs_here:
            self._run.handle().log(metrics, step)

    @property
    def _logs_here(self) -> bool:
        return self._all_ranks or rank_of(os.environ) == 0

    def _iterations(self) -> int:
        """How many batches the model was trained with before, if it comes from a checkpoint."""
        try:
            return int(self.model.optimizer.iterations.numpy())
        except Exception:  # no optimizer, or a backend whose variable is something else
            return 0

    def _hyperparameters(self) -> dict[str, Any]:
        found: dict[str, Any] = {key: value for key, value in (self.params or {}).items() if key != "verbose"}
        with contextlib.suppress(Exception):  # a model with a training step of its own may have no optimizer
            found["optimizer"] = self.model.optimizer.get_config()
        with contextlib.suppress(Exception):
            found["num_parameters"] = self.model.count_params()
        return found
