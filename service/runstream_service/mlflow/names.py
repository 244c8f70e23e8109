"""MLflow's rules for keys and values (mlflow.utils.validation), with its messages."""

from __future__ import annotations

import json
import posixpath
import re

from runstream_service.core.names import is_storable
from runstream_service.http.mlflow_errors import MlflowError, invalid

MAX_KEY_CHARACTERS = 250

# Longer keys are refused without a closer look: parsing megabytes takes long, and the message would repeat them.
_MAX_CHECKED_CHARACTERS = 4_096

_NAME = re.compile(r"[/\w.\- :]*")


def check_key(key: str, path: str) -> str:
    """Checks and returns a key of a metric, param or tag; `path` is its place in the request. Raises MlflowError."""
    if len(key) > _MAX_CHECKED_CHARACTERS:
        raise invalid(f"'{path}' exceeds the maximum length of {MAX_KEY_CHARACTERS} characters")
    if not _NAME.fullmatch(key):
        raise _invalid_value(
            path,
            key,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
            "slashes (/).",
        )
    resolved = posixpath.normpath(key)
    if resolved != key or resolved == "." or resolved.startswith(("..", "/")):
        raise _invalid_value(
            path,
            key,
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as "
            f"such. This name would resolve to {resolved!r}",
        )
    return key


def check_length(text: str, what: str, limit: int) -> str:
    """Checks that a text has at most `limit` characters and can be stored; returns it. Raises MlflowError."""
    if len(text) > limit:
        raise invalid(f"'{what}' exceeds the maximum length of {limit} characters")
    return check_storable(text, what)


def truncated(text: str, what: str, limit: int) -> str:
    """The first `limit` characters of a text: MLflow cuts off long values of params, and of tags of runs."""
    return check_storable(text[:limit], what)


def check_storable(text: str, what: str) -> str:
    """Checks that PostgreSQL can store a text; returns it. Raises MlflowError."""
    if not is_storable(text):
        raise invalid(f"'{what}' has a NUL character or a lone surrogate, which cannot be stored.")
    return text


def _invalid_value(path: str, value: str, why: str) -> MlflowError:
    return invalid(f"Invalid value {json.dumps(value)} for parameter '{path}' supplied: {why}")
