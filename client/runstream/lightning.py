"""PyTorch Lightning and Lightning Fabric: `Trainer(logger=RunstreamLogger("digits"))`.

docs/frameworks.md describes it. Needs the package `lightning` or `pytorch-lightning`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun, status_of_error

if TYPE_CHECKING:
    from runstream.run import Run

# Both packages have the same classes. The one that the program uses is imported before its logger.
if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
    from pytorch_lightning.loggers.logger import DummyExperiment, Logger
    from pytorch_lightning.utilities import rank_zero_only
else:
    try:
        from lightning.pytorch.loggers.logger import DummyExperiment, Logger
        from lightning.pytorch.utilities import rank_zero_only
    except ModuleNotFoundError:
        from pytorch_lightning.loggers.logger import DummyExperiment, Logger
        from pytorch_lightning.utilities import rank_zero_only

__all__ = ["RunstreamLogger"]


class RunstreamLogger(Logger):  # type: ignore[misc]  # Lightning is not installed where types are checked
    """Logs a training to a run, which starts and ends with it: FINISHED, FAILED after an exception, or KILLED after
    Ctrl-C. What is logged afterwards, as by `trainer.test()`, opens the run again.

    Metrics have Lightning's steps, hyperparameters become params. Once the logger is made, nothing raises, and nothing
    waits for the network before the end of the training.
    """

    def __init__(
        self,
        experiment: str | None = None,
        name: str | None = None,
        *,
        run: Run | None = None,
        all_ranks: bool = False,
        prefix: str = "",
        **start: Any,
    ) -> None:
        """Raises TypeError or ValueError for a wrong argument.

        Args:
            experiment, name: As for `start_run`.
            run: An open run to log to, instead of one that is started. It is left open.
            all_ranks: Each rank logs its own values to the same run; False: only rank 0, as with Lightning's loggers.
            prefix: Put before each metric, with "/" in between.
            start: Further arguments of `start_run`, such as `run_id` and `attempt` for a training that is resumed,
                `params`, `tags` or `address`.
        """
        super().__init__()
        self._run = FrameworkRun(run, experiment=experiment, name=name, **start)
        self._experiment_name = run.experiment if run is not None else experiment
        self._all_ranks = all_ranks
        self._prefix = f"{prefix}/" if prefix else ""

    @property
    def experiment(self) -> Any:
        """The `runstream.Run`, started or opened again if it was not open; in ranks that do not log, an object that
        ignores every call."""
        return self._run.handle() if self._logs_here else DummyExperiment()

    @property
    def name(self) -> str:
        """The experiment. Checkpoints are written below `<name>/<version>` if there is no other place for them."""
        return self._experiment_name or "runstream"

    @property
    def version(self) -> str | None:
        """The run's id; None in ranks that do not log."""
        return self._run.run_id if self._logs_here else None

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Called by Lightning, with the step of the optimizer."""
        if self._logs_here:
            prefix = self._prefix
            self._run.handle().log({f"{prefix}{key}": value for key, value in metrics.items()}, step)

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Called by Lightning with what `save_hyperparameters()` has saved. Nested ones get keys with "/"."""
        if _rank() == 0 and params is not None:
            self._run.handle().log_params(flat_params(params))

    def finalize(self, status: str) -> None:
        """Called by Lightning at the end of fit, validate, test and predict, and after an exception."""
        if status == "success":
            self._run.finish("FINISHED")
        else:
            self._run.finish(status_of_error())

    @property
    def _logs_here(self) -> bool:
        return self._all_ranks or _rank() == 0

    def __copy__(self) -> RunstreamLogger:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RunstreamLogger:
        return self


def _rank() -> int:
    return int(rank_zero_only.rank)
