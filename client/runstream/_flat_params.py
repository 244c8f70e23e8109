"""Turns the hyperparameters of frameworks into params: flat, and short enough for the service."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from runstream._params_tags import MAX_PARAM

_MAX_DEPTH = 8  # deeper mappings are one param, as text
_MAX_KEYS = 100  # so are larger ones: the labels of a thousand classes are one hyperparameter


def flat_params(config: Any) -> dict[str, str]:
    """The params of a configuration. The keys of nested mappings, namespaces and dataclasses are joined with "/".
    Values become text, cut at the length limit of a param. Never raises: what cannot become text is left out."""
    try:
        return {key: text for key, value in _leaves(config, "", 0) if (text := _text(value)) is not None}
    except Exception:  # a mapping of some library that cannot be walked through
        text = _text(config)
        return {} if text is None else {"config": text}


def _leaves(value: Any, key: str, depth: int) -> Iterator[tuple[str, Any]]:
    inner = _as_mapping(value)
    if inner is None or (key and (not inner or len(inner) > _MAX_KEYS or depth > _MAX_DEPTH)):
        yield key or "config", value
        return
    for name, one in inner.items():
        yield from _leaves(one, f"{key}/{name}" if key else str(name), depth + 1)


def _as_mapping(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Namespace):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _text(value: Any) -> str | None:
    try:
        text = str(value)
    except Exception:
        return None
    return text if len(text) <= MAX_PARAM else text[: MAX_PARAM - 3] + "..."
