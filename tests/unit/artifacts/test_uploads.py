"""Places for uploads: bounded, and not held by those that do not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from runstream_service.artifacts import uploads as module
from runstream_service.artifacts.uploads import SLOW_BYTES, Uploads
from runstream_service.errors.core import Overloaded


async def trickling(chunk: bytes, ended: asyncio.Event) -> AsyncIterator[bytes]:
    """A body that goes on until the event; empty chunks are moments in which nothing comes."""
    while not ended.is_set():
        await asyncio.sleep(0.01)
        yield chunk


async def upload(uploads: Uploads, chunks: AsyncIterator[bytes]) -> int:
    async with uploads.slot() as place:
        return sum([len(chunk) async for chunk in place.watched(chunks)])


@pytest.mark.parametrize("chunk", [b"", b"x"], ids=["that pauses", "of a byte now and then"])
async def test_an_upload_makes_room_for_one_that_waits(chunk: bytes) -> None:
    uploads, never = Uploads(1, wait_s=30, slow_s=0.1), asyncio.Event()
    slow = asyncio.ensure_future(upload(uploads, trickling(chunk, never)))
    await asyncio.sleep(0.3)
    assert not slow.done(), "nobody wants its place"
    ended = asyncio.Event()
    ended.set()
    assert await asyncio.wait_for(upload(uploads, trickling(b"", ended)), 10) == 0
    with pytest.raises(Overloaded, match="make room"):
        await slow


async def test_an_upload_that_comes_keeps_its_place_and_a_further_one_is_told_to_come_again() -> None:
    uploads, ended = Uploads(1, wait_s=0.3, slow_s=0.1), asyncio.Event()
    fed = asyncio.ensure_future(upload(uploads, trickling(bytes(SLOW_BYTES), ended)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="as many uploads as this replica allows"):
        await upload(uploads, trickling(b"", ended))
    ended.set()
    assert await fed >= SLOW_BYTES


async def test_those_that_wait_are_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    uploads, ended = Uploads(1, wait_s=30), asyncio.Event()
    begun = [asyncio.ensure_future(upload(uploads, trickling(b"x", ended))) for _ in range(4)]
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded):
        await upload(uploads, trickling(b"x", ended))
    ended.set()
    await asyncio.gather(*begun)
