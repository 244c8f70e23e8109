"""The model registry: what a walk does with it."""

from __future__ import annotations

from typing import Any

from tests.mlflow.parity.calls import Call
from tests.mlflow.parity.values import pairs, value
from tests.mlflow.parity.walk import Area, World

_STAGES = ("None", "Staging", "Production", "Archived", "production", "Nonsense")
_ALIASES = ("champion", "Best", "a.b", "latest", "v1", "", "x" * 256)
_KEYS = ("team", "a b", "x.y", "été")
_LIMIT = 100_000


def create(world: World) -> Call:
    body: dict[str, Any] = {"name": _name(world)}
    if world.rarely(0.4):
        body["description"] = world.chance.choice(("", "text", "été"))
    if world.rarely(0.3):
        body["tags"] = _tags(world)
    return Call("POST", "registered-models/create", body)


def create_version(world: World) -> Call:
    body: dict[str, Any] = {"name": _name(world), "source": f"s3://bucket/{world.chance.randrange(3)}"}
    if world.rarely(0.3):
        body["description"] = "a version"
    if world.rarely(0.3):
        body["tags"] = _tags(world)
    if world.rarely(0.2):
        body["run_link"] = "https://example.com/run"
    return Call("POST", "model-versions/create", body)


def get(world: World) -> Call:
    return Call("GET", "registered-models/get", {"name": _name(world)}, changes=False)


def get_version(world: World) -> Call:
    path = world.chance.choice(("get", "get-download-uri"))
    return Call("GET", f"model-versions/{path}", _version(world), changes=False)


def latest(world: World) -> Call:
    body: dict[str, Any] = {"name": _name(world)}
    if world.rarely(0.5):
        body["stages"] = [world.chance.choice(_STAGES[:-1])]
    method = world.chance.choice(("GET", "POST"))
    return Call(method, "registered-models/get-latest-versions", body, changes=False, unordered=True)


def update(world: World) -> Call:
    return Call("PATCH", "registered-models/update", {"name": _name(world), "description": "new"})


def update_version(world: World) -> Call:
    return Call("PATCH", "model-versions/update", {**_version(world), "description": "newer"})


def rename(world: World) -> Call:
    return Call("POST", "registered-models/rename", {"name": _name(world), "new_name": _name(world)})


def transition(world: World) -> Call:
    stage, archive = world.chance.choice(_STAGES), world.rarely(0.4)
    body = {**_version(world), "stage": stage, "archive_existing_versions": archive}
    return Call("POST", "model-versions/transition-stage", body)


def set_tag(world: World) -> Call:
    key = world.chance.choice(_KEYS)
    body = {"name": _name(world), "key": key, "value": value(world, _LIMIT)}
    if world.rarely(0.5):
        return Call("POST", "registered-models/set-tag", body)
    return Call("POST", "model-versions/set-tag", {**_version(world), "key": key, "value": body["value"]})


def delete_tag(world: World) -> Call:
    key = world.chance.choice(_KEYS)
    if world.rarely(0.5):
        return Call("DELETE", "registered-models/delete-tag", {"name": _name(world), "key": key})
    return Call("DELETE", "model-versions/delete-tag", {**_version(world), "key": key})


def set_alias(world: World) -> Call:
    alias = world.chance.choice(_ALIASES)
    return Call("POST", "registered-models/alias", {**_version(world), "alias": alias})


def get_alias(world: World) -> Call:
    body = {"name": _name(world), "alias": world.chance.choice(_ALIASES)}
    return Call("GET", "registered-models/alias", body, changes=False)


def delete_alias(world: World) -> Call:
    body = {"name": _name(world), "alias": world.chance.choice(_ALIASES)}
    return Call("DELETE", "registered-models/alias", body)


def delete(world: World) -> Call:
    return Call("DELETE", "registered-models/delete", {"name": _name(world)})


def delete_version(world: World) -> Call:
    return Call("DELETE", "model-versions/delete", _version(world))


def search(world: World) -> Call:
    choose = world.chance.choice
    # Always: other tests register models on the same servers.
    filters = [f"name LIKE '{world.salt}%'"]
    if world.rarely(0.4):
        filters.append(choose(_FILTERS).format(name=_name(world), key=choose(("team", "`a b`", '"x.y"'))))
    body: dict[str, Any] = {"filter": " AND ".join(filters), "max_results": choose((1, 2, 100))}
    if world.rarely(0.4):
        body["order_by"] = [choose(("name", "name DESC", "nonsense"))]
    path = choose(("registered-models", "model-versions"))
    if path == "model-versions":
        # By default the newest come first, and two of one millisecond in any order.
        body["order_by"] = ["name", "version_number DESC"]
    learns: dict[str, tuple[str, ...]] = {"«token»": ("next_page_token",)}
    return Call("GET", f"{path}/search", body, learns=learns, changes=False)


def mistake(world: World) -> Call:
    """A request that no client sends."""
    method, path, body = world.chance.choice(_MISTAKES)
    return Call(method, path, body)


def _name(world: World) -> str:
    if world.rarely(0.02):
        return world.chance.choice(("", "a/b", "a:b"))
    return f"{world.salt} {world.chance.choice('abAB')}"


def _version(world: World) -> dict[str, str]:
    odd = world.chance.choice(("99", "x", "0", ""))
    return {"name": _name(world), "version": odd if world.rarely(0.08) else str(world.chance.randrange(1, 4))}


def _tags(world: World) -> list[dict[str, str]]:
    return [pair for pair in pairs(world, _LIMIT) if 0 < len(pair["key"]) <= 250]


_FILTERS = (
    "name = '{name}'",
    "name != '{name}'",
    "name ILIKE '%A%'",
    "tags.{key} = 'a'",
    "tags.{key} != 'a'",
    "name > 'a'",
    "nonsense = 'a'",
    "name = 'a",
)
_MISTAKES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "registered-models/create", {}),
    ("POST", "registered-models/create", {"name": 5}),
    ("GET", "registered-models/get", {}),
    ("PATCH", "registered-models/update", {}),
    ("POST", "registered-models/rename", {"name": "a"}),
    ("DELETE", "registered-models/delete", {}),
    ("POST", "model-versions/create", {"name": "a"}),
    ("GET", "model-versions/get", {"name": "a"}),
    ("POST", "model-versions/transition-stage", {"name": "a", "version": "1"}),
    ("GET", "registered-models/search", {"max_results": 100_000}),
    ("GET", "model-versions/search", {"max_results": 1_000_000}),
    ("GET", "registered-models/search", {"page_token": "nonsense", "filter": "name = 'nothing at all'"}),
)

AREA = Area(
    "registry",
    (
        (8, create),
        (12, create_version),
        (8, get),
        (8, get_version),
        (5, latest),
        (3, update),
        (4, update_version),
        (3, rename),
        (8, transition),
        (6, set_tag),
        (4, delete_tag),
        (6, set_alias),
        (4, get_alias),
        (3, delete_alias),
        (1, delete),
        (2, delete_version),
        (12, search),
        (3, mistake),
    ),
    (create, create, create_version),
)
