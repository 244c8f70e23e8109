"""The keys of latest values are sorted in a thread, which must not keep the interpreter from the event loop."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.query import latest
from runstream_service.threads import READS


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True, max_size=80))
def test_keys_are_sorted_as_their_bytes_are_whatever_the_size_of_the_parts(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latest, "_KEYS_AT_ONCE", 16)
        keys, place = latest._keys_in_order(texts)
    assert keys == sorted(texts, key=str.encode)
    assert [keys[number] for number in place] == texts


async def test_very_many_keys_are_sorted_while_the_event_loop_goes_on() -> None:
    texts = [f"layer/{number % 977}/metric/{number}" for number in range(200_000)]
    random.Random(1).shuffle(texts)
    began = time.perf_counter()
    sorted(texts)
    at_once_s = time.perf_counter() - began
    # The best of some tries: another process may take the processor meanwhile.
    assert min([await _longest_pause_s(texts) for _ in range(3)]) < at_once_s / 3


async def _longest_pause_s(texts: list[str]) -> float:
    """The longest time for which the event loop did not run while the keys were sorted in a thread."""
    sorting = asyncio.ensure_future(READS.run(latest._sorted_with_pauses, texts))
    longest_s, last = 0.0, time.perf_counter()
    while not sorting.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest_s, last = max(longest_s, now - last), now
    return longest_s
