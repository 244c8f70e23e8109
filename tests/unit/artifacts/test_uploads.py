"""Slots for uploads: bounded, and not kept by uploads whose data does not arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from runstream_service.artifacts.uploads import SLOW_BYTES, Uploads
from runstream_service.errors.core import Overloaded
from tests.support.polling import until


class Trickle:
    """A body that goes on until it is told to end; empty chunks are moments in which nothing comes."""

    def __init__(self, chunk: bytes, *, ended: bool = False) -> None:
        self.ended = ended
        self.lasted_s = 0.0  # until the newest chunk
        self._chunk = chunk

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks, a hundred a second."""
        began = time.monotonic()
        while not self.ended:
            await asyncio.sleep(0.01)
            self.lasted_s = time.monotonic() - began
            yield self._chunk


async def upload(uploads: Uploads, body: Trickle) -> int:
    """Uploads the body; returns its size."""
    async with uploads.slot() as slot:
        return sum([len(chunk) async for chunk in slot.watched(body.chunks())])


@pytest.mark.parametrize("chunk", [b"", b"x"], ids=["that pauses", "of a byte now and then"])
async def test_a_slow_upload_makes_room_for_one_that_waits(chunk: bytes) -> None:
    uploads, body = Uploads(1, wait_s=30, slow_s=0.1), Trickle(chunk)
    slow = asyncio.ensure_future(upload(uploads, body))
    await until(lambda: body.lasted_s > 0.3)
    assert not slow.done(), "nobody waits for its slot"
    assert await asyncio.wait_for(upload(uploads, Trickle(b"", ended=True)), 10) == 0
    with pytest.raises(Overloaded, match="make room"):
        await slow


async def test_an_upload_whose_data_arrives_keeps_its_slot_and_a_further_one_is_refused() -> None:
    uploads, body = Uploads(1, wait_s=0.3, slow_s=0.1), Trickle(bytes(SLOW_BYTES))
    fed = asyncio.ensure_future(upload(uploads, body))
    await until(lambda: body.lasted_s)
    with pytest.raises(Overloaded, match="as many uploads as this replica allows"):
        await upload(uploads, Trickle(b""))
    body.ended = True
    assert await fed >= SLOW_BYTES


async def test_the_number_of_uploads_that_wait_for_a_slot_is_bounded() -> None:
    uploads, body = Uploads(1, wait_s=30, max_waiting=3), Trickle(b"x")
    begun = [asyncio.ensure_future(upload(uploads, body)) for _ in range(4)]
    await until(lambda: body.lasted_s)
    with pytest.raises(Overloaded):
        await upload(uploads, Trickle(b"x"))
    body.ended = True
    await asyncio.gather(*begun)
