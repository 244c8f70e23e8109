"""Hugging Face Accelerate: `Accelerator(log_with=RunstreamTracker("digits"))`.

docs/frameworks.md describes it. Needs the package `accelerate`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.tracking import GeneralTracker

from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun, status_of_error

if TYPE_CHECKING:
    from runstream.run import Run

__all__ = ["RunstreamTracker"]


class RunstreamTracker(GeneralTracker):  # type: ignore[misc]  # Accelerate is not installed where types are checked
    """Logs to a run, which starts with `init_trackers` and ends with `end_training`: FINISHED, or, where that is called
    while an exception is handled, FAILED, and KILLED after Ctrl-C.

    Once the tracker is made, nothing raises, and nothing waits for the network before the end of the training.
    """

    name = "runstream"
    requires_logging_directory = False

    def __init__(
        self,
        experiment: str | None = None,
        name: str | None = None,
        *,
        run: Run | None = None,
        all_ranks: bool = False,
        **start: Any,
    ) -> None:
        """Raises TypeError or ValueError for a wrong argument.

        Args:
            experiment, name: As for `start_run`.
            run: An open run to log to, instead of one that is started. It is left open.
            all_ranks: `log` of this tracker works in each process. (`Accelerator.log` only calls it in the main
                process.)
            start: Further arguments of `start_run`, such as `run_id` and `attempt` for a training that is resumed,
                `params`, `tags` or `address`.
        """
        super().__init__()
        self.main_process_only = not all_ranks
        self._run = FrameworkRun(run, experiment=experiment, name=name, **start)

    def start(self) -> None:
        """Called by `init_trackers`."""
        if self._logs_here:
            self._run.handle()

    @property
    def tracker(self) -> Run | None:
        """The run, started or opened again if it was not open; None in processes that do not log."""
        return self._run.handle() if self._logs_here else None

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Called by `init_trackers` with its `config`, which becomes params. Nested ones get keys with "/"."""
        if PartialState().is_main_process:
            self._run.handle().log_params(flat_params(values))

    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Called by `Accelerator.log`. Without a step, the step is one more than the last one."""
        if self._logs_here:
            self._run.handle().log(values, step)

    def finish(self) -> None:
        """Called by `end_training`."""
        self._run.finish("FINISHED" if sys.exc_info()[1] is None else status_of_error())

    @property
    def _logs_here(self) -> bool:
        return not self.main_process_only or bool(PartialState().is_main_process)
