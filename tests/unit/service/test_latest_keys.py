"""The keys of latest values are sorted in a thread, which must not keep the interpreter from the event loop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query import latest


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True, max_size=80))
def test_keys_are_sorted_as_their_bytes_are_whatever_the_size_of_the_parts(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latest, "_KEYS_AT_ONCE", 16)
        keys, place = latest._keys_in_order(texts)
    assert keys == sorted(texts, key=str.encode)
    assert [keys[number] for number in place] == texts


def test_very_many_keys_are_sorted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"layer/{number % 977}/metric/{number}" for number in range(200_000)]
    random.Random(1).shuffle(texts)
    at_once: list[int] = []

    def counted(part: list[str]) -> list[str]:
        at_once.append(len(part))
        return sorted(part)

    monkeypatch.setattr(latest, "sorted", counted, raising=False)
    assert latest._sorted_with_pauses(texts) == sorted(texts)
    assert max(at_once) < 4 * latest._KEYS_AT_ONCE, "the interpreter is free after each call, not within one"
