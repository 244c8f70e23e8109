"""Runs, params, tags, metrics and searches: what a walk does with them."""

# ruff: noqa: E501 - one mistake a line

from __future__ import annotations

from typing import Any

from tests.mlflow.parity import experiments
from tests.mlflow.parity.calls import NOTHING, Call
from tests.mlflow.parity.values import key, metric, pairs, value
from tests.mlflow.parity.walk import Area, Step, World

_PARAM, _TAG = 6_000, 8_000
_ID = ("run", "info", "run_id")
_KEYS = ("loss", "acc", "`a b`", '"x.y"', "`train/loss`", "UPPER", "`k-1`", "été", "_", "`k:v`")


def create(world: World) -> Call:
    name = f"«run {len(world.runs)}»"
    world.runs.append(name)
    # A start time always: it orders runs, and the time of now is not the same on both.
    body: dict[str, Any] = {"experiment_id": world.experiment(), "start_time": world.tick()}
    if world.rarely(0.5):
        body["run_name"] = world.chance.choice(("first", "second", "Third", "été", "", "n" * 300))
    if world.rarely(0.3):
        body["user_id"] = world.chance.choice(("ann", "bob", "", "Ann"))
    if world.rarely(0.4):
        body["tags"] = _tags(world)
    return Call("POST", "runs/create", body, learns={name: _ID})


def create_named(world: World) -> Call:
    """Creates a run with a name: names that the servers make up are ordered differently on each."""
    call = create(world)
    call.body["run_name"] = world.chance.choice(("first", "second", "Third", "été"))
    return call


def create_plainly(world: World) -> Call:
    """Creates a run; this always succeeds."""
    name = f"«run {len(world.runs)}»"
    world.runs.append(name)
    body = {"experiment_id": world.experiments[0], "start_time": world.tick(), "run_name": name[1:-1]}
    return Call("POST", "runs/create", body, learns={name: _ID})


def get(world: World) -> Call:
    field = world.chance.choice(("run_id", "run_id", "run_uuid"))
    return Call("GET", "runs/get", {field: world.run()}, changes=False)


def update(world: World) -> Call:
    # Stock answers an update without a status, or without an end, in ways of its own; clients send all of them.
    body: dict[str, Any] = {"run_id": world.run()}
    if world.rarely(0.8):
        body["status"] = world.chance.choice(("RUNNING", "FINISHED", "FAILED", "KILLED", "SCHEDULED", "NONSENSE"))
    if world.rarely(0.6):
        body["end_time"] = world.tick()
    if world.rarely(0.3):
        body["run_name"] = world.chance.choice(("renamed", "", "first"))
    return Call("POST", "runs/update", body)


def delete(world: World) -> Call:
    return Call("POST", "runs/delete", {"run_id": world.run()})


def restore(world: World) -> Call:
    return Call("POST", "runs/restore", {"run_id": world.run()})


def log_parameter(world: World) -> Call:
    body = {"run_id": world.run(), "key": key(world), "value": value(world, _PARAM)}
    return Call("POST", "runs/log-parameter", body)


def set_tag(world: World) -> Call:
    body = {"run_id": world.run(), "key": _tag_key(world), "value": value(world, _TAG)}
    return Call("POST", "runs/set-tag", body)


def delete_tag(world: World) -> Call:
    return Call("POST", "runs/delete-tag", {"run_id": world.run(), "key": key(world)})


def log_metric(world: World) -> Call:
    return Call("POST", "runs/log-metric", {"run_id": world.run(), **metric(world)})


def log_batch(world: World) -> Call:
    body: dict[str, Any] = {"run_id": world.run()}
    if world.rarely(0.8):
        body["metrics"] = [metric(world) for _ in range(world.chance.choice((0, 1, 2, 5, 20)))]
    if world.rarely(0.4):
        body["params"] = pairs(world, _PARAM)
    if world.rarely(0.4):
        body["tags"] = pairs(world, _TAG)
    return Call("POST", "runs/log-batch", body)


def history(world: World) -> Call:
    field = world.chance.choice(("run_id", "run_id", "run_uuid"))
    body: dict[str, Any] = {field: world.run(), "metric_key": key(world)}
    if world.rarely(0.4):
        body["max_results"] = world.chance.choice((1, 2, 3, 25_000))
    return Call("GET", "metrics/get-history", body, learns={"«token»": ("next_page_token",)}, changes=False)


def history_bulk(world: World) -> Call:
    """The limit is for all runs together, in the order of their ids: which points are left is no question for many."""
    runs = [world.run() for _ in range(world.chance.randrange(1, 4))]
    body: dict[str, Any] = {"run_id": runs, "metric_key": key(world)}
    if world.rarely(0.4):
        body["run_id"], body["max_results"] = runs[:1], world.chance.choice((1, 2, 5, 30_000))
    unordered = len(body["run_id"]) > 1
    return Call("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", body, changes=False, unordered=unordered)


def interval(world: World) -> Call:
    choose = world.chance.choice
    body: dict[str, Any] = {
        "run_ids": [world.run() for _ in range(world.chance.randrange(1, 4))],
        "metric_key": key(world),
        "max_results": choose((1, 2, 3, 5, 320, 2_500)),
    }
    if world.rarely(0.3):
        body["start_step"], body["end_step"] = choose(((0, 2), (-1, 0), (1, 1), (2, 0), (0, 10**12)))
    return Call("GET", "metrics/get-history-bulk-interval", body, changes=False)


def search(world: World) -> Call:
    choose = world.chance.choice
    body: dict[str, Any] = {
        "experiment_ids": sorted({world.experiment() for _ in range(world.chance.randrange(1, 3))}),
        "max_results": choose((1, 2, 3, 10, 1000)),
    }
    if world.rarely(0.75):
        body["filter"] = " AND ".join(_condition(world) for _ in range(choose((1, 1, 2, 3))))
    if world.rarely(0.6):
        body["order_by"] = _order(world)
    if world.rarely(0.4):
        body["run_view_type"] = choose(("ACTIVE_ONLY", "DELETED_ONLY", "ALL"))
    return Call("POST", "runs/search", body, learns={"«token»": ("next_page_token",)}, changes=False)


def mistake(world: World) -> Call:
    """A request that no client sends."""
    method, path, body = world.chance.choice(_MISTAKES)
    return Call(method, path, body, changes=not path.endswith(("search", "get", "get-history")))


def _tags(world: World) -> list[dict[str, str]]:
    """Tags with keys, and values below the limit: see differences.py."""
    return [pair for pair in pairs(world, _TAG) if 0 < len(pair["key"]) <= 250 and len(pair["value"]) < _TAG]


def _tag_key(world: World) -> str:
    return "mlflow.runName" if world.rarely(0.06) else key(world)


def _condition(world: World) -> str:
    choose = world.chance.choice
    template = choose(_BROKEN) if world.rarely(0.1) else choose(_CONDITIONS)
    return template.format(
        key=choose(_KEYS),
        op=choose((">", ">=", "=", "!=", "<", "<=")),
        equal=choose(("=", "!=")),
        like=choose(("LIKE", "ILIKE")),
        number=choose((0, 1, -1, 0.5, 3, "1e3")),
        text=choose(("a", "A", "b", "B_c", "100%", "x' OR 1=1".replace("'", ""), "été", "1")),
        pattern=choose(("%a%", "a", "_", "%", "B%", "%c", "A%", "1__%")),
        run=choose(world.runs or [NOTHING["run"]]),
        other=choose(world.runs or [NOTHING["run"]]),
        time=world.clock - choose((0, 20, 100, 300)),
        status=choose(("RUNNING", "FINISHED", "FAILED", "KILLED")),
    )


def _order(world: World) -> list[str]:
    choose = world.chance.choice
    columns = (*(f"metrics.{name}" for name in _KEYS[:5]), "params.loss", "params.acc", "tags.loss", *_COLUMNS)
    chosen = world.chance.sample(columns, choose((1, 1, 2)))
    # Stock answers 500 to a column twice, under whatever name.
    return [f"{column}{choose(('', ' ASC', ' DESC', ' desc'))}" for column in chosen]


_CONDITIONS = (
    "metrics.{key} {op} {number}",
    "metric.{key} {op} {number}",
    "params.{key} {equal} '{text}'",
    "params.{key} {like} '{pattern}'",
    'param.{key} {equal} "{text}"',
    "parameters.{key} IS NULL",
    "tags.{key} {equal} '{text}'",
    "tags.{key} {like} '{pattern}'",
    "tag.{key} IS NOT NULL",
    "params.{key} IS NOT NULL",
    "tags.{key} IS NULL",
    "attributes.status {equal} '{status}'",
    "status = '{status}'",
    "attribute.start_time {op} {time}",
    "start_time {op} {time}",
    "end_time {op} {time}",
    "attributes.created {op} {time}",
    "run_id = '{run}'",
    "attributes.run_id IN ('{run}', '{other}')",
    "run_id NOT IN ('{run}')",
    "run_name {equal} 'first'",
    "attributes.run_name {like} '%ir%'",
    "attributes.`Run name` = 'first'",
    "tags.mlflow.runName = 'first'",
    "user_id {equal} 'ann'",
    "user_id {like} 'A%'",
    "datasets.name = 'train'",
    "dataset.digest {equal} 'd1'",
    "dataset.context {like} 't%'",
    "inputs.a = 1",
)
_BROKEN = (
    "metrics.{key} {op} '1'",
    "metrics.{key} LIKE '1'",
    "params.{key} > '1'",
    "params.{key} = 1",
    "tags.{key} {equal} {text}",
    "nonsense.{key} = '1'",
    "nonsense = '1'",
    "status > 'A'",
    "start_time = 'x'",
    "run_id IN ()",
    "status IN ('RUNNING')",
    "metrics.{key}",
    "metrics.{key} {op}",
    "= 1",
    "params.a = 'x' XOR params.b = 'y'",
    "(params.a = 'x')",
    "params.a = 'x",
    "metrics.a = 1 AND",
    "metrics.a IS NULL",
    "attributes.experiment_id = '1'",
    "attributes.lifecycle_stage = 'active'",
)
_COLUMNS = ("attributes.start_time", "end_time", "attribute.status", "run_name", "user_id")
_MISTAKES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "runs/create", {"experiment_id": "abc"}),
    ("POST", "runs/create", {"experiment_id": "«experiment 0»", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}),
    ("POST", "runs/create", {"experiment_id": 5}),
    ("GET", "runs/get", {}),
    ("GET", "runs/get", {"run_id": ""}),
    ("GET", "runs/get", {"run_id": "no such"}),
    ("GET", "runs/get", {"run_id": "nosuch"}),
    ("POST", "runs/update", {}),
    ("POST", "runs/delete", {}),
    ("POST", "runs/restore", {"run_id": 31}),
    ("POST", "runs/log-parameter", {"run_id": "«run 0»"}),
    ("POST", "runs/log-parameter", {"key": "a", "value": "b"}),
    ("POST", "runs/log-parameter", {"run_id": "«run 0»", "key": 1, "value": "b"}),
    ("POST", "runs/set-tag", {"run_id": "«run 0»"}),
    ("POST", "runs/set-tag", {"run_id": "«run 0»", "key": None, "value": "b"}),
    ("POST", "runs/delete-tag", {"run_id": "«run 0»"}),
    ("POST", "runs/log-metric", {"run_id": "«run 0»"}),
    ("POST", "runs/log-metric", {"run_id": "«run 0»", "key": "loss"}),
    ("POST", "runs/log-metric", {"run_id": "«run 0»", "key": "loss", "value": 1.0}),
    ("POST", "runs/log-metric", {"run_id": "«run 0»", "key": "loss", "value": "abc", "timestamp": 1}),
    ("POST", "runs/log-metric", {"run_id": "«run 0»", "key": "loss", "value": 1.0, "timestamp": -1}),
    ("POST", "runs/log-metric", {"run_id": "«run 0»", "key": "loss", "value": 1.0, "timestamp": 1, "step": "x"}),
    ("POST", "runs/log-metric", {"key": "loss", "value": 1.0, "timestamp": 1}),
    ("POST", "runs/log-metric", {"run_uuid": "«run 0»", "key": "loss", "value": 1.0, "timestamp": 1}),
    ("POST", "runs/log-batch", {}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "metrics": [{"key": "loss"}]}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "metrics": "x"}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "params": [{"key": "same", "value": "1"}, {"key": "same", "value": "2"}]}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "tags": [{"key": "same", "value": "1"}, {"key": "same", "value": "2"}]}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "metrics": [{"key": "loss", "value": 1, "timestamp": 0}] * 1_001}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "params": [{"key": f"p{n}", "value": "1"} for n in range(101)]}),
    ("POST", "runs/log-batch", {"run_id": "«run 0»", "tags": [{"key": f"t{n}", "value": "1"} for n in range(101)]}),
    ("GET", "metrics/get-history", {"run_id": "«run 0»"}),
    ("GET", "metrics/get-history", {"metric_key": "loss"}),
    ("GET", "metrics/get-history", {"run_id": "«run 0»", "metric_key": "loss", "max_results": 0}),
    ("GET", "metrics/get-history", {"run_id": "«run 0»", "metric_key": "loss", "page_token": "x", "max_results": 5}),
    ("GET", "metrics/get-history-bulk-interval", {"metric_key": "loss", "max_results": 5}),
    ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["«run 0»"], "max_results": 5}),
    ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["«run 0»"], "metric_key": "loss"}),
    ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["«run 0»"], "metric_key": "loss", "max_results": 2_501}),
    ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["«run 0»"], "metric_key": "loss", "max_results": 0}),
    ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["«run 0»"], "metric_key": "loss", "max_results": 5, "start_step": 1}),
    ("GET", "metrics/get-history-bulk-interval", {"run_ids": ["«run 0»"] * 101, "metric_key": "loss", "max_results": 5}),
    ("POST", "runs/search", {}),
    ("POST", "runs/search", {"experiment_ids": ["«experiment 0»"], "max_results": 0}),
    ("POST", "runs/search", {"experiment_ids": ["«experiment 0»"], "max_results": 50_001}),
    ("POST", "runs/search", {"experiment_ids": ["«experiment 0»"], "page_token": "nonsense"}),
    ("POST", "runs/search", {"experiment_ids": ["«experiment 0»"], "order_by": ["nonsense"]}),
    ("POST", "runs/search", {"experiment_ids": ["«experiment 0»"], "order_by": ["metrics.a sideways"]}),
    ("POST", "runs/search", {"experiment_ids": ["abc"]}),
    ("POST", "runs/search", {"experiment_ids": "«experiment 0»"}),
)  # fmt: skip

_BEGIN: tuple[Step, ...] = (experiments.create_plainly, experiments.create_plainly, create_plainly, create_plainly)

RUNS = Area(
    "runs",
    (
        (12, create),
        (10, get),
        (8, update),
        (4, delete),
        (4, restore),
        (10, log_parameter),
        (10, set_tag),
        (5, delete_tag),
        (8, mistake),
        (1, experiments.create),
        (1, experiments.delete),
        (2, experiments.restore),
    ),
    _BEGIN,
)
METRICS = Area(
    "metrics",
    (
        (2, create),
        (8, get),
        (12, log_metric),
        (14, log_batch),
        (10, history),
        (4, history_bulk),
        (10, interval),
        (2, delete),
        (3, restore),
        (6, mistake),
    ),
    _BEGIN,
)
SEARCH = Area(
    "search",
    (
        (5, create_named),
        (2, update),
        (1, delete),
        (4, log_parameter),
        (4, set_tag),
        (4, log_metric),
        (4, log_batch),
        (34, search),
        (2, mistake),
    ),
    (*_BEGIN, create_named, create_named, create_named, create_named),
)
