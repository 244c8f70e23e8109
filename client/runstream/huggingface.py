"""Hugging Face's Trainer, and those of TRL and others that are built on it:
`Trainer(callbacks=[RunstreamCallback("digits")])`.

docs/frameworks.md describes it. Needs the package `transformers`; for Accelerate alone there is `runstream.accelerate`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun

if TYPE_CHECKING:
    from runstream.run import Run

__all__ = ["RunstreamCallback"]

_PREFIXES = {"eval_": "eval/", "test_": "test/"}


class RunstreamCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not installed where types are checked
    """Logs what the Trainer logs to a run, which starts and ends with the training. What is logged afterwards, as by
    `trainer.evaluate()`, opens the run again. In a hyperparameter search each trial is a run.

    Once the callback is made, nothing raises, and nothing waits for the network before the end of the training.
    """

    def __init__(
        self, experiment: str | None = None, name: str | None = None, *, run: Run | None = None, **start: Any
    ) -> None:
        """Raises TypeError or ValueError for a wrong argument.

        Args:
            experiment: As for `start_run`.
            name: As for `start_run`; None: `TrainingArguments.run_name`.
            run: An open run to log to, instead of one that is started. It is left open.
            start: Further arguments of `start_run`, such as `run_id` and `attempt` for a training that is resumed,
                `params`, `tags` or `address`.
        """
        self._run = FrameworkRun(run, experiment=experiment, name=name, **start)
        self._is_training = False

    @property
    def run(self) -> Run:
        """The run, started or opened again if it was not open."""
        return self._run.handle()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Starts the run, and logs the arguments and the model's configuration as params."""
        if not state.is_world_process_zero:
            return
        if self._is_training:  # an exception ended the last training; callbacks are not called then
            self._run.finish("FAILED")
        if state.is_hyper_param_search:
            self._run.begin_another()
        self._is_training = True
        self._run.suggest(name=state.trial_name or args.run_name)
        self._run.handle().log_params(flat_params(_hyperparameters(args, model)))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Logs metrics at the global step."""
        if state.is_world_process_zero and logs:
            self._run.handle().log(_in_groups(logs), state.global_step)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **kwargs: Any) -> None:
        """Logs the metrics of a prediction, which the Trainer does not log."""
        self.on_log(args, state, control, metrics)
        self.on_evaluate(args, state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ends the run after an evaluation that is not part of a training."""
        if not self._is_training:
            self._run.finish()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ends the run."""
        self._is_training = False
        self._run.finish()


def _in_groups(logs: Mapping[str, Any]) -> dict[str, Any]:
    """`eval_loss` becomes `eval/loss`, and `loss` `train/loss`, as with the other callbacks that draw charts."""
    renamed = {}
    for key, value in logs.items():
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
        renamed[_PREFIXES.get(prefix, "train/") + key.removeprefix(prefix)] = value
    return renamed


def _hyperparameters(args: Any, model: Any) -> dict[str, Any]:
    """The hyperparameters of the training and the model. Those of the training win if both have the same name.
    `to_dict` masks tokens."""
    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # a model of another library may have a config of any kind
        found.update(_as_dict(model.config))
    with contextlib.suppress(Exception):
        found["peft_config"] = {name: _as_dict(config) for name, config in model.peft_config.items()}
    with contextlib.suppress(Exception):
        found["num_parameters"] = model.num_parameters()
    with contextlib.suppress(Exception):
        found.update(args.to_dict())
    return found


def _as_dict(config: Any) -> Mapping[str, Any]:
    found = config if isinstance(config, Mapping) else config.to_dict()
    assert isinstance(found, Mapping)
    return found
