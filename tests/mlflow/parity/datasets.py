"""Datasets that runs read: what a walk does with them."""

from __future__ import annotations

from typing import Any

from tests.mlflow.parity import experiments, runs
from tests.mlflow.parity.calls import Call
from tests.mlflow.parity.walk import Area, World

_NAMES = ("train", "Train", "valid set", "été", "100%", "x_y")
_DIGESTS = ("d1", "d2", "D1")
_CONTEXTS = ("training", "Training", "eval", "")
_CONTEXT_TAG = "mlflow.data.context"
# Stock has it for its UI alone.
_SEARCH = "/ajax-api/2.0/mlflow/experiments/search-datasets"


def log_inputs(world: World) -> Call:
    datasets = [_input(world) for _ in range(world.chance.choice((0, 1, 1, 2, 4)))]
    return Call("POST", "runs/log-inputs", {"run_id": world.run(), "datasets": datasets})


def search_datasets(world: World) -> Call:
    ids = sorted({world.experiment() for _ in range(world.chance.choice((1, 1, 2)))})
    return Call("POST", _SEARCH, {"experiment_ids": ids}, changes=False, unordered=True)


def search(world: World) -> Call:
    body: dict[str, Any] = {
        "experiment_ids": sorted({world.experiment(), world.experiments[0]}),
        "filter": " AND ".join(_condition(world) for _ in range(world.chance.choice((1, 1, 2)))),
    }
    return Call("POST", "runs/search", body, changes=False)


def mistake(world: World) -> Call:
    path, body = world.chance.choice(_MISTAKES)
    return Call("POST", path, body)


def _input(world: World) -> dict[str, Any]:
    choose = world.chance.choice
    dataset = {"name": choose(_NAMES), "digest": choose(_DIGESTS), "source_type": "local", "source": "{}"}
    if world.rarely(0.3):
        dataset |= {"schema": '{"a": 1}', "profile": choose(('{"rows": 1}', ""))}
    tags = [{"key": "split", "value": choose("ab")}] if world.rarely(0.3) else []
    if world.rarely(0.7):
        tags.append({"key": _CONTEXT_TAG, "value": choose(_CONTEXTS)})
    return {"dataset": dataset, "tags": tags}


def _condition(world: World) -> str:
    choose = world.chance.choice
    template = choose(_BROKEN) if world.rarely(0.1) else choose(_CONDITIONS)
    return template.format(
        entity=choose(("dataset", "datasets")),
        equal=choose(("=", "!=")),
        like=choose(("LIKE", "ILIKE")),
        name=choose(_NAMES),
        other=choose(_NAMES),
        digest=choose(_DIGESTS),
        context=choose(_CONTEXTS),
        pattern=choose(("t%", "T%", "%a%", "_1", "%", "100%", "x_y")),
    )


_CONDITIONS = (
    "{entity}.name {equal} '{name}'",
    "{entity}.name {like} '{pattern}'",
    "{entity}.name IN ('{name}', '{other}')",
    "{entity}.name NOT IN ('{name}')",
    "{entity}.digest {equal} '{digest}'",
    "{entity}.digest {like} '{pattern}'",
    "{entity}.context {equal} '{context}'",
    "{entity}.context {like} '{pattern}'",
    "{entity}.`name` = '{name}' AND {entity}.digest = '{digest}' AND {entity}.context = '{context}'",
    "run_name LIKE 'run%'",
)
_BROKEN = (
    "{entity}.source = 'local'",
    "{entity}.name = 1",
    "{entity}.name > 'a'",
    "{entity}.name IS NULL",
    "{entity} = 'a'",
    "{entity}.context = {name}",
)
_DATASET = {"name": "a", "digest": "1", "source_type": "local", "source": "{}"}
_MISTAKES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("runs/log-inputs", {}),
    ("runs/log-inputs", {"run_id": "«run 0»", "datasets": "a"}),
    ("runs/log-inputs", {"run_id": "«run 0»", "datasets": [{"dataset": {**_DATASET, "digest": "d" * 37}}]}),
    ("runs/log-inputs", {"run_id": "«run 0»", "datasets": [{"dataset": {**_DATASET, "name": "n" * 501}}]}),
    ("runs/log-inputs", {"run_id": "«run 0»", "datasets": [{"dataset": _DATASET, "tags": [{"key": "k" * 256}]}]}),
    (_SEARCH, {}),
    (_SEARCH, {"experiment_ids": ["«experiment 0»"] * 21}),
    (_SEARCH, {"experiment_ids": ["abc"]}),
)

AREA = Area(
    "datasets",
    (
        (10, log_inputs),
        (6, search_datasets),
        (10, search),
        (5, runs.get),
        (2, mistake),
        (1, runs.create),
        (1, runs.delete),
        (1, runs.restore),
    ),
    (
        experiments.create_plainly,
        experiments.create_plainly,
        *(runs.create_plainly,) * 3,
        runs.create,
    ),
)
