"""Optuna: `study.optimize(objective, callbacks=[RunstreamCallback("tuning")])`.

docs/frameworks.md describes it. Needs the package `optuna`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from optuna.exceptions import TrialPruned
from optuna.trial import TrialState

from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun, check_arguments, finish_in_background, status_of_error
from runstream._identity import fresh_id

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from runstream.run import Run, Status

__all__ = ["RunstreamCallback"]

_Objective = Callable[["Trial"], Any]


class RunstreamCallback:
    """Makes each trial a run: its parameters are params, its values metrics, its state, number, study and user
    attributes tags. A trial that was pruned is FINISHED, with the tag `optuna.state`; one that failed is FAILED.

    An objective that is decorated with `track` logs to the run while it works. Once the callback is made, nothing
    raises, and nothing waits for the network: a trial's run is ended in the background.
    """

    def __init__(self, experiment: str | None = None, *, metric_name: str | None = None, **start: Any) -> None:
        """Raises TypeError or ValueError for a wrong argument.

        Args:
            experiment: As for `start_run`; None: the name of the study.
            metric_name: The name of the objective's value; None: `study.metric_names`, else `value`. Several values are
                `value_0`, `value_1` and so on.
            start: Further arguments of `start_run` for all trials, such as `tags` or `address`.
        """
        if metric_name is not None and not isinstance(metric_name, str):
            raise TypeError(f"metric_name must be a string, not {type(metric_name).__name__}")
        if taken := start.keys() & {"run", "run_id", "rank", "name"}:
            raise TypeError(f"{', '.join(sorted(taken))}: not allowed here, as each trial has its own")
        self._arguments = {"experiment": experiment, **start}
        check_arguments(self._arguments)
        self._metric_name = metric_name
        self._open: dict[tuple[str, int], Run] = {}  # by study and number of the trial; trials may run in threads
        self._failed: set[tuple[str, int]] = set()  # ended by `track`; Optuna may still call the callback for them

    def track(self, objective: Callable[[Trial, Run], Any]) -> _Objective:
        """Turns an objective that takes a trial and its run into one for Optuna, which takes the trial only."""

        @functools.wraps(objective)
        def tracked(trial: Trial) -> Any:
            run = self._started(trial.study.study_name, trial.number)
            try:
                return objective(trial, run)
            except TrialPruned:
                raise
            except BaseException:  # Optuna only calls callbacks after the exceptions that it was told to catch
                self._failed.add((trial.study.study_name, trial.number))
                self._end(trial.study, trial, status_of_error(), "FAIL")
                raise

        return tracked

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Called by Optuna after each trial."""
        key = (study.study_name, trial.number)
        if key in self._failed:
            self._failed.discard(key)
            return
        run = self._started(*key)
        step = -1
        for step, value in sorted(trial.intermediate_values.items()):
            run.log({"intermediate_value": value}, step)
        for name, value in self._values(study, trial):
            run.log({name: value}, max(step, 0))
        self._end(study, trial, "FAILED" if trial.state == TrialState.FAIL else "FINISHED", trial.state.name)

    def _started(self, study_name: str, number: int) -> Run:
        run = self._open.get((study_name, number))
        if run is None:
            trial = FrameworkRun(**{**self._arguments, "run_id": fresh_id(), "rank": 0})
            trial.suggest(experiment=study_name, name=f"{study_name} {number}")
            run = self._open[study_name, number] = trial.handle()
        return run

    def _end(self, study: Study, trial: Trial | FrozenTrial, status: Status, state: str) -> None:
        run = self._open.pop((study.study_name, trial.number))
        run.log_params(flat_params(trial.params))
        run.set_tags({str(name): value for name, value in trial.user_attrs.items()})
        run.set_tags({"optuna.study": study.study_name, "optuna.trial": trial.number, "optuna.state": state})
        finish_in_background(run, status)

    def _values(self, study: Study, trial: FrozenTrial) -> Iterator[tuple[str, float]]:
        values = trial.values or []
        names = study.metric_names or ([self._metric_name or "value"] if len(values) == 1 else None)
        if names is None:
            names = [f"{self._metric_name or 'value'}_{index}" for index in range(len(values))]
        return zip(names, values, strict=False)
