"""Keys, values and numbers that walks send: mostly few and plain, so that they meet; rarely strange."""

from __future__ import annotations

from typing import Any

from tests.mlflow.parity.walk import World

_KEYS = ("loss", "acc", "train/loss", "a b", "x.y", "été", "k-1", "UPPER", "k:v", "_")
_STRANGE_KEYS = ("", "..", "a/../b", "/a", "a//b", "a\tb", "a=b", 'a"b', "x" * 250, "x" * 251, "a/", ".", "./a", "a,b")
_VALUES = ("", "a", "A", "b", "B_c", "100%", "été", "1", "1.5", "x' OR 1=1", 'say "hi"', "line\nbreak", "None", "abc")
_NUMBERS: tuple[Any, ...] = (0, 1, -1, 0.5, 1e-300, 1e300, 3, 2.5, -2.5, "NaN", "Infinity", "-Infinity", 7)


def key(world: World) -> str:
    """A key of a metric, param or tag."""
    return world.chance.choice(_STRANGE_KEYS if world.rarely(0.05) else _KEYS)


def value(world: World, limit: int) -> str:
    """A value of a param or tag; rarely about as long as allowed."""
    if world.rarely(0.03):
        return "y" * (limit + world.chance.choice((-1, 0, 1, 500)))
    return world.chance.choice(_VALUES)


def number(world: World) -> Any:
    """A value of a metric."""
    if world.rarely(0.5):
        return round(world.chance.gauss(0, 10), 3)
    return world.chance.choice(_NUMBERS)


def pairs(world: World, limit: int, *, most: int = 4) -> list[dict[str, str]]:
    """Params or tags, each key once."""
    keys = {key(world) for _ in range(world.chance.randrange(most))}
    return [{"key": one, "value": value(world, limit)} for one in sorted(keys)]


def metric(world: World) -> dict[str, Any]:
    """A point; steps and times are few, so that points meet."""
    point: dict[str, Any] = {"key": key(world), "value": number(world), "timestamp": world.chance.randrange(5)}
    if not world.rarely(0.2):
        point["step"] = world.chance.choice((0, 0, 1, 2, 3, -1, 10**12))
    return point
