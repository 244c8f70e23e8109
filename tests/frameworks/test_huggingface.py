"""Hugging Face's real Trainer, and Accelerate."""

from __future__ import annotations

import math

import pytest
import torch
from accelerate import Accelerator
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

import runstream
from runstream.accelerate import RunstreamTracker
from runstream.huggingface import RunstreamCallback
from tests.frameworks.stored import points_of

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the libraries, of small trainings


class LineConfig(PretrainedConfig):
    model_type = "line"
    inputs = 2


class Line(PreTrainedModel):
    config_class = LineConfig

    def __init__(self, config: LineConfig) -> None:
        super().__init__(config)
        self.line = torch.nn.Linear(config.inputs, 1)
        self.post_init()

    def forward(self, x, labels=None):
        found = self.line(x).squeeze(-1)
        return {"loss": torch.nn.functional.mse_loss(found, labels), "logits": found}


class FailsAt(TrainerCallback):
    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise self.error


def trainer(tmp_path, *callbacks, **options):
    torch.manual_seed(0)
    data = [{"x": (x := torch.randn(2)), "labels": x.sum()} for _ in range(48)]
    chosen = {"num_train_epochs": 2, "logging_steps": 3, "report_to": "none", "save_strategy": "no", **options}
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True, eval_strategy="epoch", **chosen)
    return Trainer(
        Line(LineConfig()), arguments, train_dataset=data[:32], eval_dataset=data[32:], callbacks=list(callbacks)
    )


def grouped(key: str) -> str:
    return f"eval/{key[5:]}" if key.startswith("eval_") else f"train/{key}"


def test_a_run_has_the_log_of_the_trainer(serve, client, tmp_path, caplog):
    callback = RunstreamCallback("huggingface", address=serve.grpc_address)
    training = trainer(tmp_path, callback, run_name="line", learning_rate=0.25)
    training.train()
    run = client.get_run(callback._run.run_id)
    assert (run.name, run.status) == ("line", "FINISHED")
    assert (run.params["learning_rate"], run.params["model_type"], run.params["num_parameters"]) == (
        "0.25",
        "line",
        "3",
    )
    expected: dict[str, dict[int, float]] = {}
    for row in training.state.log_history:
        for key, value in row.items():
            if key != "step":
                expected.setdefault(grouped(key), {})[row["step"]] = value
    found = points_of(client, run.run_id)
    assert {"train/loss", "train/grad_norm", "eval/loss", "train/train_runtime"} <= expected.keys() == found.keys()
    for key, points in expected.items():
        assert dict(found[key]) == pytest.approx(points), key
    assert not [record for record in caplog.records if record.name == "runstream"]


def test_an_evaluation_afterwards_belongs_to_the_run(serve, client, tmp_path):
    callback = RunstreamCallback("huggingface", address=serve.grpc_address)
    training = trainer(tmp_path, callback, max_steps=4)
    training.train()
    training.evaluate(metric_key_prefix="eval_later")
    training.predict(training.eval_dataset)
    run_id = callback._run.run_id
    assert client.get_run(run_id).status == "FINISHED"
    points = points_of(client, run_id)
    assert [step for step, _ in points["eval/later_loss"]] == [4]
    assert [step for step, _ in points["test/loss"]] == [4]


def test_a_training_that_was_cut_off_is_failed_when_the_next_one_begins(serve, client, tmp_path):
    callback = RunstreamCallback("huggingface", address=serve.grpc_address)
    training = trainer(tmp_path, callback, FailsAt(3, RuntimeError("lost")), max_steps=6, logging_steps=1)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            training.train()
        assert client.get_run(callback._run.run_id).status == "RUNNING"
    callback.on_train_end(None, None, None)
    assert [step for step, _ in points_of(client, callback._run.run_id)["train/loss"]] == [1, 1, 2, 2]


def test_a_run_of_the_caller_gets_the_end_of_its_block(serve, client, tmp_path):
    with pytest.raises(KeyboardInterrupt), runstream.start_run("huggingface", address=serve.grpc_address) as run:
        trainer(tmp_path, RunstreamCallback(run=run), FailsAt(3, KeyboardInterrupt())).train()
    assert client.get_run(run.run_id).status == "KILLED"


def test_each_trial_of_a_search_is_a_run(serve, client, tmp_path):
    callback = RunstreamCallback("hf search", address=serve.grpc_address)
    training = trainer(tmp_path, callback, max_steps=2)
    training.model_init = lambda _trial: Line(LineConfig())
    training.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", [0.25, 0.5])},
        n_trials=2,
        compute_objective=lambda metrics: metrics["eval_loss"],
        hp_name=lambda trial: f"trial {trial.number}",
    )
    runs = [client.get_run(run.run_id) for run in client.list_runs("hf search")]
    assert {run.name for run in runs} == {"trial 0", "trial 1"}
    assert {run.status for run in runs} == {"FINISHED"}
    assert {run.params["learning_rate"] for run in runs} <= {"0.25", "0.5"}


def test_accelerate_starts_and_ends_a_run(serve, client):
    tracker = RunstreamTracker("accelerate", "line", address=serve.grpc_address)
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("project", config={"optimizer": {"lr": 0.1}, "layers": 2})
    for step in range(5):
        accelerator.log({"loss": torch.tensor(1 / (step + 1)), "train": {"lr": 0.1}}, step=10 * step)
    assert accelerator.get_tracker("runstream", unwrap=True) is tracker.tracker
    accelerator.log({"final": math.inf})
    accelerator.end_training()
    run = client.get_run(tracker._run.run_id)
    assert (run.name, run.status, run.params) == ("line", "FINISHED", {"optimizer/lr": "0.1", "layers": "2"})
    points = points_of(client, run.run_id)
    assert dict(points["loss"]) == pytest.approx({10 * step: 1 / (step + 1) for step in range(5)})
    assert points["train/lr"] == [(10 * step, 0.1) for step in range(5)]
    assert points["final"] == [(41, math.inf)]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_accelerate_ends_a_run_while_an_exception_goes_by(serve, client, error, status):
    tracker = RunstreamTracker("accelerate", address=serve.grpc_address)
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("project")

    def train():
        try:
            accelerator.log({"loss": 1.0}, step=0)
            raise error
        finally:
            accelerator.end_training()

    with pytest.raises(error):
        train()
    assert client.get_run(tracker._run.run_id).status == status
