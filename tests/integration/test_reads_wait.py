"""Reads wait for their turn; how many wait, and how long, is bounded."""

from __future__ import annotations

import asyncio

import pytest

from runstream_service.database.pool import Database
from runstream_service.errors.core import Overloaded
from runstream_service.query.reading.read_transaction import ReadPool


async def read(read_pool: ReadPool, ended: asyncio.Event) -> None:
    async with read_pool.transaction():
        await ended.wait()


async def test_one_read_too_many_is_refused_and_those_that_wait_get_their_turn(database: Database) -> None:
    read_pool, ended = ReadPool(database, max_reads=1, max_waiting=2), asyncio.Event()
    under_way = [asyncio.ensure_future(read(read_pool, ended)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 reads wait"):
        await read(read_pool, ended)
    ended.set()
    await asyncio.gather(*under_way)
    await read(read_pool, ended)


async def test_a_read_does_not_wait_forever(database: Database) -> None:
    read_pool, ended = ReadPool(database, max_reads=1, wait_s=0.1), asyncio.Event()
    slow = asyncio.ensure_future(read(read_pool, ended))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="reads as this replica allows were under way"):
        await read(read_pool, ended)
    ended.set()
    await slow
