"""Blocking work in threads: in pools of their own, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from runstream_service.concurrency.threads import ThreadPool, call_each
from runstream_service.errors.core import Overloaded
from tests.support.polling import until


@contextlib.asynccontextmanager
async def hung(pool: ThreadPool, calls: int) -> AsyncIterator[None]:
    """Starts this many calls that do not return until the end of the block."""
    released = threading.Event()
    tasks = [asyncio.ensure_future(pool.run(released.wait, 60)) for _ in range(calls)]
    await asyncio.sleep(0)
    try:
        yield
    finally:
        released.set()
        await asyncio.gather(*tasks)


async def test_a_call_returns_what_its_function_returns_and_raises_what_it_raises() -> None:
    pool = ThreadPool("test", threads=2, max_waiting=10)
    assert await pool.run(int, "12", base=3) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        await pool.run(int, "x")


async def test_a_pool_that_hangs_holds_up_no_other() -> None:
    files, reads = (ThreadPool(name, threads=2, max_waiting=2) for name in ("files", "reads"))
    async with hung(files, calls=2):
        assert await asyncio.wait_for(reads.run(sum, [1, 2]), 10) == 3


async def test_a_call_beyond_the_bound_is_refused_at_once_and_later_ones_are_made() -> None:
    pool = ThreadPool("files", threads=2, max_waiting=3)
    async with hung(pool, calls=5):
        with pytest.raises(Overloaded, match="5 calls of files"):
            await pool.run(sum, [])
    assert await pool.run(sum, [1]) == 1


async def test_a_call_that_nobody_waits_for_any_more_still_counts_while_it_runs() -> None:
    pool = ThreadPool("files", threads=1, max_waiting=0)
    released = threading.Event()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(pool.run(released.wait, 60), 0.05)
    with pytest.raises(Overloaded):
        await pool.run(sum, [])
    released.set()
    await until(lambda: not pool.unfinished)
    assert await pool.run(sum, [1]) == 1


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    script = """if True:
        import asyncio, threading
        from runstream_service.concurrency.threads import ThreadPool
        async def main():
            try:
                await asyncio.wait_for(ThreadPool("t", threads=1, max_waiting=0).run(threading.Event().wait), 0.1)
            except asyncio.TimeoutError:
                print("gave up")
        asyncio.run(main())"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "gave up\n"


async def test_a_cheap_function_is_called_in_a_thread_for_many_items_and_at_once_for_few() -> None:
    here = threading.get_ident()
    assert await call_each(str, [1, 2]) == ["1", "2"]
    assert set(await call_each(lambda _: threading.get_ident(), range(10))) == {here}
    assert here not in await call_each(lambda _: threading.get_ident(), range(10_000))
    assert await call_each(str, range(10_000)) == [str(number) for number in range(10_000)]
