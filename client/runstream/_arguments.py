"""Checks arguments of `Client`, so that an error names the argument, and not a field of a message."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from runstream._device_values import DeviceValue
from runstream._identity import check_run_id
from runstream._values import INT64_MAX, INT64_MIN, RefusedValue, capture_step, whole_step


def keys_to_read(keys: str | Iterable[str] | None) -> list[str]:
    """A list of metric keys: a string is one key; None asks for all keys, which is an empty list in a message."""
    return [] if keys is None else some_keys(keys, "None asks for all keys")


def some_keys(keys: str | Iterable[str], otherwise: str) -> list[str]:
    """A list of at least one metric key; a string is one key. `otherwise` completes the error for an empty list."""
    names = strings("keys", keys)
    if not names:
        # In a message, an empty list means all keys.
        raise ValueError(f"keys is empty; {otherwise}")
    return names


def run_ids_to_read(run_ids: str | Iterable[str]) -> list[str]:
    """A list of run ids in their plain form; a string is one id."""
    return [check_run_id(one) for one in strings("run_ids", run_ids)]


def text(name: str, value: str) -> str:
    """Returns the value; raises TypeError, which names the argument, if it is not a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    return value


def strings(name: str, value: str | Iterable[str]) -> list[str]:
    """A list of strings, which may be empty; a single string becomes a list of one."""
    if isinstance(value, str):
        return [value]
    strings = list(value) if isinstance(value, Iterable) else [value]
    for one in strings:
        if not isinstance(one, str):
            raise TypeError(f"{name} must be strings, not {type(one).__name__}")
    return strings


def order_by_best(key: str, goal: str) -> str:
    """The order of a search by the best value of a metric, best first. The key is quoted with a kind of quotes that it
    does not contain, as a search knows no escapes. Raises ValueError if it contains all three kinds."""
    quote = next((quote for quote in "`\"'" if quote not in text("key", key)), None)
    if quote is None:
        raise ValueError(f"key {key!r} has quotes of all three kinds, so no search can name it; pass run_ids instead")
    return f"{goal}(metrics.{quote}{key}{quote}) {'ASC' if goal == 'min' else 'DESC'}"


def integer(name: str, value: Any, least: int = INT64_MIN, most: int = INT64_MAX) -> int:
    """A whole number in any form in which `log()` takes a step."""
    if value is None:
        raise TypeError(f"{name} must be an integer, not None")
    try:
        captured = capture_step(value)
        number = whole_step(captured.read()) if isinstance(captured, DeviceValue) else captured
    except RefusedValue as why:
        raise TypeError(f"{name} must be an integer; this {why}") from None
    if not least <= number <= most:
        raise ValueError(f"{name} must be between {least} and {most}, not {number}")
    return number


def integer_or_none(name: str, value: Any, least: int = INT64_MIN, most: int = INT64_MAX) -> int | None:
    """As `integer`, but None stays None."""
    return None if value is None else integer(name, value, least, most)


def timeout_seconds(timeout: Any) -> float | None:
    """A timeout in seconds, as gRPC expects it: None if it is infinite. A timeout of 0 has passed already."""
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}") from None
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout must be a number of seconds from 0, not {seconds}")
    return None if math.isinf(seconds) else seconds
