"""Ray Tune: `tune.RunConfig(callbacks=[RunstreamLoggerCallback("tuning")])`. Ray Train: `start_run` in the training
function.

docs/frameworks.md describes both. Needs the package `ray` with its extra `tune` or `train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.logger import LoggerCallback

from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun, check_arguments, finish_in_background
from runstream._identity import fresh_id
from runstream._ray_train import start_run

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from runstream.run import Run, Status

__all__ = ["RunstreamLoggerCallback", "start_run"]

_NOT_METRICS = ("config", "done", "pid", "timestamp")


class RunstreamLoggerCallback(LoggerCallback):  # type: ignore[misc]  # Ray is not installed where types are checked
    """Makes each trial of Ray Tune a run: its configuration becomes params, and what it reports becomes metrics. A
    trial that Tune restarts after a failure continues its run as the next attempt, also after `Tuner.restore`.

    It works in the process of the tuner, so trials need no setting. Once the callback is made, nothing raises, and
    nothing waits for the network: a trial's run is ended in the background.
    """

    def __init__(self, experiment: str | None = None, **start: Any) -> None:
        """Raises TypeError or ValueError for a wrong argument.

        Args:
            experiment: As for `start_run`.
            start: Further arguments of `start_run` for all trials, such as `tags` or `address`.
        """
        if taken := start.keys() & {"run", "run_id", "rank", "attempt", "name"}:
            raise TypeError(f"{', '.join(sorted(taken))}: not allowed here, as each trial has its own")
        self._arguments = {"experiment": experiment, **start}
        check_arguments(self._arguments)
        self._open: dict[str, Run] = {}  # by id of the trial
        self._known: dict[str, tuple[str, int]] = {}  # id of the trial -> run id, attempt

    def log_trial_start(self, trial: Trial) -> None:
        """Called by Tune when a trial starts, and when it continues after a pause or a failure."""
        run = self._open.get(trial.trial_id)
        if run is None:
            run_id, attempt = self._known.get(trial.trial_id, (fresh_id(), -1))
            self._known[trial.trial_id] = run_id, attempt + 1
            trial_run = FrameworkRun(**self._arguments, run_id=run_id, rank=0, attempt=attempt + 1)
            trial_run.suggest(name=str(trial))
            run = self._open[trial.trial_id] = trial_run.handle()
        run.log_params(flat_params(trial.config or {}))
        run.set_tags({"ray.trial_id": trial.trial_id})

    def log_trial_result(self, iteration: int, trial: Trial, result: Mapping[str, Any]) -> None:
        """Called by Tune with what a trial has reported. The step is `timesteps_total`, else `training_iteration`."""
        if (run := self._open.get(trial.trial_id)) is not None:
            step = result.get("timesteps_total") or result.get("training_iteration")
            run.log(_metrics({key: value for key, value in result.items() if key not in _NOT_METRICS}), step)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Called by Tune at the end of a trial."""
        self._end(trial.trial_id, "FAILED" if failed else "FINISHED")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called by Tune when a trial has failed and will be started again."""
        self._end(trial.trial_id, "FAILED")

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Called by Tune at the end, also after Ctrl-C, when trials are left."""
        for trial_id in list(self._open):
            self._end(trial_id, "KILLED")

    def get_state(self) -> dict[str, Any]:
        """The state that Tune saves for `Tuner.restore`."""
        return {"known": dict(self._known)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Called by Tune after `Tuner.restore`, with what `get_state` returned."""
        self._known.update(state["known"])

    def _end(self, trial_id: str, status: Status) -> None:
        if (run := self._open.pop(trial_id, None)) is not None:
            finish_in_background(run, status)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # handles stay in the process of the tuner


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a result, also in nested mappings. Ray adds texts such as the date and the host, which are left
    out."""
    found: dict[str, Any] = {}
    for key, value in result.items():
        if isinstance(value, Mapping):
            found[str(key)] = _metrics(value)
        elif value is not None and not isinstance(value, (str, bytes, bool, list, tuple)):
            found[str(key)] = value
    return found
