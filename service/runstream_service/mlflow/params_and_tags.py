"""MLflow's rules for params and tags of runs, one at a time or in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.names import MAX_KEY_CHARACTERS, check_key, check_length, truncated
from runstream_service.mlflow.request import Pair, check_not_empty

MAX_PARAM_CHARACTERS = 6_000
MAX_TAG_CHARACTERS = 8_000


def checked_param(param: Pair, *, path: str = "") -> tuple[str, str]:
    """The key of a param, and its value, cut off at 6,000 characters; `path` is its place in a batch.

    Raises MlflowError."""
    check_key(check_not_empty(param.key, f"{path}key"), f"{path}key")
    check_length(param.key, "Param key", MAX_KEY_CHARACTERS)
    return param.key, truncated(param.value, "Param value", MAX_PARAM_CHARACTERS)


def checked_params(params: Sequence[Pair]) -> dict[str, str]:
    """The params of a batch. Raises MlflowError, also if two have the same key."""
    checked = [checked_param(param, path=f"params[{index}].") for index, param in enumerate(params)]
    params_by_key = dict(checked)
    if len(params_by_key) < len(checked):
        counts = Counter(key for key, _ in checked)
        repeated = [key for key, count in counts.items() for _ in range(count - 1)]
        raise invalid(
            f"Duplicate parameter keys have been submitted: {repeated}. Please ensure the request contains only one "
            "param value per param key."
        )
    return params_by_key


def checked_tag(tag: Pair, *, path: str = "") -> tuple[str, str]:
    """The key of a tag, and its value, cut off at 8,000 characters; `path` is its place in a batch.

    Raises MlflowError."""
    check_key(check_not_empty(tag.key, f"{path}key"), f"{path}key")
    check_length(tag.key, f"{path}key", MAX_KEY_CHARACTERS)
    return tag.key, truncated(tag.value, f"{path}value", MAX_TAG_CHARACTERS)


def checked_tags(tags: Sequence[Pair]) -> dict[str, str]:
    """The tags of a batch. If two have the same key, the last one counts. Raises MlflowError."""
    return dict(checked_tag(tag, path=f"tags[{index}].") for index, tag in enumerate(tags))
