"""The budget bounds what waits, wakes in order and never leaks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.ingest.backpressure import PointBudget

ONE = 1  # a workspace


async def _started(*coroutines: Coroutine[None, None, None]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)  # one turn of the loop: each has reached its await
    return tasks


async def test_taking_waits_until_there_is_room() -> None:
    budget = PointBudget(100)
    await budget.acquire(ONE, 80)
    (second,) = await _started(budget.acquire(ONE, 30))
    assert not second.done()
    budget.release(ONE, 80)
    await second
    assert budget.waiting_points == 30


async def test_takers_are_served_in_the_order_in_which_they_came() -> None:
    budget = PointBudget(100)
    await budget.acquire(ONE, 100)
    large, small = await _started(budget.acquire(ONE, 90), budget.acquire(ONE, 10))
    budget.release(ONE, 50)
    await asyncio.sleep(0.001)
    assert not large.done()
    assert not small.done(), "a small request must not overtake, or large ones starve"
    budget.release(ONE, 50)
    await asyncio.gather(large, small)


async def test_a_request_above_the_capacity_fits_an_empty_budget() -> None:
    budget = PointBudget(100)
    await budget.acquire(ONE, 1_000)
    assert budget.waiting_points == 1_000


async def test_a_cancelled_taker_leaves_no_trace() -> None:
    budget = PointBudget(100)
    await budget.acquire(ONE, 100)
    first, second = await _started(budget.acquire(ONE, 50), budget.acquire(ONE, 50))
    first.cancel()
    await asyncio.sleep(0)
    budget.release(ONE, 100)
    await second
    assert budget.waiting_points == 50


async def test_a_taker_cancelled_after_its_turn_came_gives_back_what_it_got() -> None:
    budget = PointBudget(100)
    await budget.acquire(ONE, 100)
    (waiting,) = await _started(budget.acquire(ONE, 60))
    budget.release(ONE, 100)
    await asyncio.sleep(0)  # its turn has come, but it has not run yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.waiting_points == 0


async def test_a_long_line_is_served_in_portions_so_that_others_get_the_loop() -> None:
    budget = PointBudget(100)
    await budget.acquire(ONE, 100)
    takers = await _started(*(budget.acquire(ONE, 1) for _ in range(50)))
    budget.release(ONE, 100)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < sum(taker.done() for taker in takers) < 50
    await asyncio.gather(*takers)
    assert budget.waiting_points == 50


@given(st.lists(st.tuples(st.integers(1, 120), st.booleans()), max_size=40))
def test_whatever_is_taken_cancelled_and_returned_the_sum_is_right(requests: list[tuple[int, bool]]) -> None:
    async def play() -> None:
        budget = PointBudget(100)
        tasks = [(asyncio.ensure_future(budget.acquire(ONE, points)), points, cancel) for points, cancel in requests]
        await asyncio.sleep(0)
        for task, points, cancel in tasks:
            if cancel:
                task.cancel()
            await asyncio.sleep(0)
            if not cancel or (task.done() and not task.cancelled()):
                await task
                assert budget.waiting_points <= max(100, points)
                budget.release(ONE, points)
        await asyncio.gather(*(task for task, _, _ in tasks), return_exceptions=True)
        assert budget.waiting_points == 0

    asyncio.run(play())
