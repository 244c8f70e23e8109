"""The size of a JSON body is counted before it is decoded."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.http.mlflow_errors import MlflowError
from runstream_service.mlflow import json_size
from runstream_service.mlflow.json_size import MAX_CONTAINERS, MAX_VALUES, check_values, is_small

TEXTS = st.text(st.sampled_from('a,[{"\\é\n'), max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def counted(value: Any) -> tuple[int, int]:
    """Commas and containers, and containers."""
    if not isinstance(value, list | dict):
        return 0, 0
    inner = [counted(item) for item in (value.values() if isinstance(value, dict) else value)]
    containers = 1 + sum(count for _, count in inner)
    return 1 + max(0, len(value) - 1) + sum(count for count, _ in inner), containers


@given(value=JSON, piece_bytes=st.integers(1, 40), ascii_only=st.booleans())
def test_values_are_counted_whatever_texts_have_in_them(value: Any, piece_bytes: int, ascii_only: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_size, "_PIECE_BYTES", piece_bytes)
        body = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert json_size._exact_counts(body) == counted(value)


@pytest.mark.parametrize(
    "value",
    [
        [[number] for number in range(MAX_CONTAINERS)],
        [{"a": 1}] * MAX_CONTAINERS,
        list(range(MAX_VALUES + 1)),
        {str(number): 1 for number in range(MAX_VALUES + 1)},
    ],
    ids=["lists", "objects", "numbers", "fields"],
)
def test_a_body_of_too_many_values_is_refused_with_their_count(value: Any) -> None:
    with pytest.raises(MlflowError, match=r"The request has [0-9,]+ (values|objects and lists); at most [0-9,]+ are"):
        check_values(orjson.dumps(value))


@pytest.mark.parametrize(
    "text", ["x" * 5_000_000, "[{,," * 1_000_000, '\\"[,' * 500_000], ids=["plain", "brackets", "escapes"]
)
def test_a_long_text_is_one_value(text: str) -> None:
    check_values(orjson.dumps({"key": "profile", "value": text}))


def test_an_ordinary_body_is_read_at_once_and_a_big_one_in_a_thread() -> None:
    assert is_small(orjson.dumps({"run_id": "a" * 32, "key": "k", "value": "v" * 5_000}))
    assert not is_small(orjson.dumps([[1]] * 1_000))
    assert not is_small(orjson.dumps("x" * 100_000))
