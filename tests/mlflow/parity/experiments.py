"""Experiments: what a walk does with them."""

from __future__ import annotations

from typing import Any

from tests.mlflow.parity.calls import Call
from tests.mlflow.parity.values import key, pairs, value
from tests.mlflow.parity.walk import Area, World

_LIMIT = 20_000
_ID = ("experiment_id",)


def create(world: World) -> Call:
    name = f"«experiment {len(world.experiments)}»"
    body: dict[str, Any] = {"name": _name(world)}
    if world.rarely(0.3):
        body["tags"] = pairs(world, _LIMIT, most=3)
    if world.rarely(0.1):
        body["artifact_location"] = world.chance.choice(
            ("s3://bucket/a", "s3://bucket/a?b=c", "s3://b/a#x", "s3://b/;x", "")
        )
    world.experiments.append(name)
    return Call("POST", "experiments/create", body, learns={name: _ID})


def create_plainly(world: World) -> Call:
    """Creates an experiment; this always succeeds."""
    name = f"«experiment {len(world.experiments)}»"
    world.experiments.append(name)
    body = {"name": f"{world.salt} plain {len(world.experiments)}"}
    return Call("POST", "experiments/create", body, learns={name: _ID})


def get(world: World) -> Call:
    return Call("GET", "experiments/get", {"experiment_id": world.experiment()}, changes=False)


def get_by_name(world: World) -> Call:
    return Call("GET", "experiments/get-by-name", {"experiment_name": _name(world)}, changes=False)


def update(world: World) -> Call:
    return Call("POST", "experiments/update", {"experiment_id": world.experiment(), "new_name": _name(world)})


def delete(world: World) -> Call:
    return Call("POST", "experiments/delete", {"experiment_id": world.experiment()})


def restore(world: World) -> Call:
    return Call("POST", "experiments/restore", {"experiment_id": world.experiment()})


def set_tag(world: World) -> Call:
    body = {"experiment_id": world.experiment(), "key": key(world), "value": value(world, _LIMIT)}
    return Call("POST", "experiments/set-experiment-tag", body)


def delete_tag(world: World) -> Call:
    body = {"experiment_id": world.experiment(), "key": key(world)}
    return Call("POST", "experiments/delete-experiment-tag", body)


def search(world: World) -> Call:
    choose = world.chance.choice
    body: dict[str, Any] = {"max_results": choose((1, 2, 3, 5, 1000))}
    # Always: other tests make experiments on the same servers.
    filters = [f"name LIKE '{world.salt}%'"]
    if world.rarely(0.6):
        filters.append(choose(_FILTERS).format(key=choose(("loss", "`a b`", '"x.y"', "acc")), name=_name(world)))
    body["filter"] = " AND ".join(filters)
    if world.rarely(0.6):
        body["order_by"] = [choose(_ORDERS) for _ in range(choose((1, 1, 2)))]
    if world.rarely(0.5):
        body["view_type"] = choose(("ALL", "DELETED_ONLY", "ACTIVE_ONLY"))
    method = choose(("POST", "GET"))
    return Call(method, "experiments/search", body, learns={"«token»": ("next_page_token",)}, changes=False)


def mistake(world: World) -> Call:
    """A request that no client sends."""
    path, body = world.chance.choice(_MISTAKES)
    method = "GET" if path in ("get", "get-by-name") else "POST"
    return Call(method, f"experiments/{path}", body, changes=path != "search")


def _name(world: World) -> str:
    if world.rarely(0.04):
        return world.chance.choice(("", "z" * 501))
    # Few, so that some are taken.
    return f"{world.salt} {world.chance.choice('abcdABCD')}{world.chance.randrange(4)}"


_FILTERS = (
    "name = '{name}'",
    "name != '{name}'",
    "name ILIKE '%A%'",
    "attribute.name LIKE '%a_'",
    "tags.{key} = 'a'",
    "tags.{key} != 'a'",
    "tags.{key} LIKE '%a%'",
    "tags.{key} ILIKE '%A%'",
    "tags.{key} IS NULL",
    "tag.{key} IS NOT NULL",
    "creation_time > 0",
    "last_update_time >= 5",
    "creation_time < 5",
    "name > 'a'",
    "metrics.a = 1",
    "name = a",
    "name = 'a",
    "name",
    "(name = 'a')",
    "name = 'a' XOR name = 'b'",
    "creation_time = 'x'",
    "nonsense = 'a'",
    "name IN ('a')",
)
_ORDERS = (
    "name",
    "name ASC",
    "name DESC",
    "attribute.name desc",
    "experiment_id",
    "experiment_id DESC",
    "creation_time",
    "last_update_time DESC",
    "nonsense",
    "tags.a",
    "name sideways",
)
_MISTAKES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("create", {}),
    ("create", {"name": 5}),
    ("create", {"name": None}),
    ("get", {}),
    ("get", {"experiment_id": "abc"}),
    ("get-by-name", {}),
    ("update", {"experiment_id": "«experiment 0»"}),
    ("update", {"new_name": "x"}),
    ("delete", {}),
    ("delete", {"experiment_id": "12x"}),
    ("restore", {}),
    ("set-experiment-tag", {"experiment_id": "«experiment 0»"}),
    ("set-experiment-tag", {"key": "a", "value": "b"}),
    ("search", {}),
    ("search", {"max_results": 0}),
    ("search", {"max_results": -1}),
    ("search", {"max_results": 50_001}),
    ("search", {"max_results": 5, "page_token": "nonsense"}),
)

AREA = Area(
    "experiments",
    (
        (10, create),
        (8, get),
        (6, get_by_name),
        (6, update),
        (5, delete),
        (5, restore),
        (10, set_tag),
        (4, delete_tag),
        (14, search),
        (5, mistake),
    ),
    (create_plainly, create_plainly),
)
