"""Logged models, inputs and outputs of runs: what a walk does with them."""

from __future__ import annotations

from typing import Any

from tests.mlflow.parity import experiments, runs
from tests.mlflow.parity.calls import NOTHING, Call
from tests.mlflow.parity.values import pairs
from tests.mlflow.parity.walk import Area, World

_STATUSES = ("LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_PENDING")
_LIMIT = 200


def create(world: World) -> Call:
    name = f"«model {len(world.models)}»"
    world.models.append(name)
    body: dict[str, Any] = {"experiment_id": world.experiment(), "name": world.chance.choice(("net", "tree", "a/b"))}
    if world.rarely(0.4):
        body["source_run_id"] = world.run()
    if world.rarely(0.4):
        body["params"] = _pairs(world)
    if world.rarely(0.4):
        body["tags"] = _pairs(world)
    return Call("POST", "logged-models", body, learns={name: ("model", "info", "model_id")})


def get(world: World) -> Call:
    return Call("GET", f"logged-models/{_model(world)}", changes=False)


def finalize(world: World) -> Call:
    model = _model(world)
    body = {"model_id": model, "status": world.chance.choice(_STATUSES)}
    return Call("PATCH", f"logged-models/{model}", body)


def set_tags(world: World) -> Call:
    return Call("PATCH", f"logged-models/{_model(world)}/tags", {"tags": _pairs(world)})


def delete(world: World) -> Call:
    return Call("DELETE", f"logged-models/{_model(world)}")


def list_files(world: World) -> Call:
    if world.rarely(0.5):
        return Call("GET", "artifacts/list", {"run_id": world.run()}, changes=False)
    return Call("GET", f"logged-models/{_model(world)}/artifacts/directories", changes=False)


def log_inputs(world: World) -> Call:
    dataset = {"name": world.chance.choice("ab"), "digest": world.chance.choice("12"), "source_type": "local"}
    tags = [{"key": "mlflow.data.context", "value": world.chance.choice(("train", "eval"))}]
    datasets = [{"dataset": {**dataset, "source": "{}"}, "tags": tags if world.rarely(0.5) else []}]
    return Call("POST", "runs/log-inputs", {"run_id": world.run(), "datasets": datasets})


def log_outputs(world: World) -> Call:
    # One step: stock keeps the first one that a model is logged with, and refuses the others.
    models = [{"model_id": _model(world), "step": 0}]
    return Call("POST", "runs/outputs", {"run_id": world.run(), "models": models})


def _model(world: World) -> str:
    return world.one_of(world.models, NOTHING["model"])


def _pairs(world: World) -> list[dict[str, str]]:
    return [pair for pair in pairs(world, _LIMIT) if 0 < len(pair["key"]) <= 250]


AREA = Area(
    "logged models",
    (
        (10, create),
        (12, get),
        (6, finalize),
        (6, set_tags),
        (1, delete),
        (4, list_files),
        (8, log_inputs),
        (6, log_outputs),
        (8, runs.get),
        (1, runs.delete),
    ),
    (experiments.create_plainly, runs.create_plainly, runs.create_plainly, create, create),
)
