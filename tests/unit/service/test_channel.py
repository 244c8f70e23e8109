"""Questions and messages between two processes; here both ends are in one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runstream_service.server.channel import Channel, NoAnswer
from tests.support.tasks import end


class Ends:
    """Both ends of a channel; the first one sends questions and messages."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.asking: Channel
        self.answering: Channel
        self.reading: list[asyncio.Task[None]] = []


async def double(number: int) -> int:
    return 2 * number


async def fail(_: object) -> None:
    raise ValueError("it does not work")


async def hang(_: object) -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    made = Ends()
    one, other = socket.socketpair()
    made.asking = await Channel.open(one, on_question={}, on_message={})
    made.answering = await Channel.open(
        other,
        on_question={"double": double, "fail": fail, "hang": hang},
        on_message={"news": made.heard.put_nowait},
    )
    made.reading = [asyncio.create_task(channel.run()) for channel in (made.asking, made.answering)]
    yield made
    await end(*made.reading)


async def test_questions_are_answered_also_many_at_a_time(ends: Ends) -> None:
    answers = await asyncio.gather(*(ends.asking.ask("double", number, timeout_s=30) for number in range(100)))
    assert answers == [2 * number for number in range(100)]


async def test_messages_arrive_in_order(ends: Ends) -> None:
    for number in range(100):
        ends.asking.tell("news", number)
    assert [await ends.heard.get() for _ in range(100)] == list(range(100))


async def test_a_large_message_arrives_whole(ends: Ends) -> None:
    ends.asking.tell("news", "x" * 3_000_000)
    assert len(await ends.heard.get()) == 3_000_000


async def test_a_question_that_fails_says_why(ends: Ends) -> None:
    with pytest.raises(NoAnswer, match="it does not work"):
        await ends.asking.ask("fail", timeout_s=30)


async def test_a_question_that_is_not_answered_in_time_says_so_and_its_late_answer_harms_nobody(ends: Ends) -> None:
    with pytest.raises(NoAnswer, match=r"no answer to .hang. within 0\.01 s"):
        await ends.asking.ask("hang", timeout_s=0.01)
    assert await ends.asking.ask("double", 1, timeout_s=30) == 2


async def test_a_question_that_waits_when_the_other_process_ends_gets_no_answer_at_once(ends: Ends) -> None:
    waiting = asyncio.create_task(ends.asking.ask("hang", timeout_s=3_600))
    await ends.asking.ask("double", 1, timeout_s=30)
    ends.reading[1].cancel()  # which closes it
    with pytest.raises(NoAnswer, match="has ended"):
        await waiting
    await ends.reading[0]
    with contextlib.suppress(NoAnswer):
        await ends.asking.ask("double", 1, timeout_s=3_600)
