"""Answers that several pages share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runstream_service.errors.core import InvalidField
from runstream_service.web.shared_answers import SharedAnswers


class Source:
    """Counts how often it is asked; what it answers can be held back."""

    def __init__(self) -> None:
        self.asked = 0
        self.value: Any = "a"
        self.gate = asyncio.Event()
        self.gate.set()

    async def make(self) -> dict[str, Any]:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.value, Exception):
            raise self.value
        return {"value": self.value}


async def test_an_answer_is_made_again_when_it_is_older_than_is_asked_for() -> None:
    now = [100.0]
    source, shared = Source(), SharedAnswers(lambda: now[0])
    first = await shared.get("q", 2, source.make)
    now[0] += 1.9
    assert await shared.get("q", 2, source.make) is first
    now[0] += 0.2
    source.value = "b"
    second = await shared.get("q", 2, source.make)
    assert (second.answer, second.state != first.state, source.asked) == ({"value": "b"}, True, 2)
    now[0] += 0.1
    source.value = "a"
    assert (await shared.get("q", 0, source.make)).state == first.state, "who has changed something sees it"


async def test_those_who_ask_at_once_share_one_question_even_if_the_first_goes_away() -> None:
    source, shared = Source(), SharedAnswers()
    source.gate.clear()
    first, second = (asyncio.ensure_future(shared.get("q", 5, source.make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert (await second).answer == {"value": "a"}
    assert source.asked == 1
    assert (await shared.get("other", 5, source.make)).answer == {"value": "a"}
    assert source.asked == 2


async def test_an_error_is_raised_by_each_and_not_kept() -> None:
    source, shared = Source(), SharedAnswers()
    source.value = InvalidField("filter: is wrong", field="filter")
    found = await asyncio.gather(*(shared.get("q", 5, source.make) for _ in range(3)), return_exceptions=True)
    assert [getattr(one, "field", "") for one in found] == ["filter"] * 3
    assert len({id(one) for one in found}) == 3
    source.value = "a"
    assert (await shared.get("q", 5, source.make)).answer == {"value": "a"}


async def test_only_some_answers_are_kept() -> None:
    source, shared = Source(), SharedAnswers()
    for number in range(40):
        await shared.get(number, 60, source.make)
    await shared.get(39, 60, source.make)
    assert source.asked == 40
    await shared.get(0, 60, source.make)
    assert source.asked == 41


@pytest.mark.parametrize("max_age_s", [0, 5])
async def test_a_question_under_way_is_shared_only_by_those_who_take_its_age(max_age_s: int) -> None:
    now = [0.0]
    source, shared = Source(), SharedAnswers(lambda: now[0])
    source.gate.clear()
    first = asyncio.ensure_future(shared.get("q", 0, source.make))
    await asyncio.sleep(0)
    now[0] = 1.0
    second = asyncio.ensure_future(shared.get("q", max_age_s, source.make))
    await asyncio.sleep(0)
    source.gate.set()
    await asyncio.gather(first, second)
    assert source.asked == (1 if max_age_s else 2)
