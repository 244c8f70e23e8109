"""Bulk work lets urgent work pass, for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from runstream_service.sharing.urgent import LONGEST_PAUSE_S, URGENT_FOR_S, UrgentWork


class Clock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def urgent(clock: Clock, pauses: list[float]) -> UrgentWork:
    return UrgentWork(on_pause=pauses.append, clock=clock)


async def test_with_nothing_urgent_bulk_work_does_not_even_yield(urgent: UrgentWork, pauses: list[float]) -> None:
    assert not urgent.bulk_is_paused
    with pytest.raises(StopIteration):
        urgent.wait_while_paused().send(None)
    assert not pauses


async def test_bulk_work_goes_on_as_soon_as_the_last_urgent_work_is_done(
    urgent: UrgentWork, clock: Clock, pauses: list[float]
) -> None:
    urgent.begin("read")
    urgent.begin("batch")
    waiting = asyncio.ensure_future(urgent.wait_while_paused())
    await asyncio.sleep(0)
    clock.now += 0.01
    urgent.end("read")
    assert urgent.bulk_is_paused
    urgent.end("batch")
    assert not urgent.bulk_is_paused
    await waiting
    assert pauses == [pytest.approx(0.01)]


async def test_urgent_work_that_fails_or_is_cancelled_is_let_go(urgent: UrgentWork) -> None:
    async def fail() -> None:
        with urgent.under_way():
            assert urgent.bulk_is_paused
            raise ZeroDivisionError

    async def read() -> None:
        with urgent.under_way():
            await asyncio.Event().wait()

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not urgent.is_under_way
    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    assert urgent.is_under_way
    reading.cancel()
    await asyncio.wait({reading})
    assert not urgent.is_under_way


async def test_without_anybody_who_asks_a_pause_ends_in_time() -> None:
    urgent = UrgentWork()
    with urgent.under_way():
        await asyncio.wait_for(urgent.wait_while_paused(), 10)


def test_reads_without_end_leave_half_of_the_time_to_bulk_work(urgent: UrgentWork, clock: Clock) -> None:
    held, longest, stretch = 0, 0, 0
    for number in range(10_000):
        urgent.begin(number)  # one after the other, each for 20 ms
        if number >= 20:
            urgent.end(number - 20)
        clock.now += 0.001
        stretch = stretch + 1 if urgent.bulk_is_paused else 0
        held += urgent.bulk_is_paused
        longest = max(longest, stretch)
    assert 4_000 < held <= 5_100
    assert longest <= LONGEST_PAUSE_S * 1_000 + 1


def test_short_reads_pause_bulk_work_for_no_longer_than_they_take(urgent: UrgentWork, clock: Clock) -> None:
    for _ in range(100):
        with urgent.under_way():
            assert urgent.bulk_is_paused
            clock.now += 0.005
        assert not urgent.bulk_is_paused
        clock.now += 0.005


def test_work_that_takes_long_is_not_urgent_any_more(urgent: UrgentWork, clock: Clock) -> None:
    with urgent.under_way():
        clock.now += URGENT_FOR_S + 0.001
        assert not urgent.bulk_is_paused
        assert not urgent.is_under_way
        clock.now += 1.0
        assert not urgent.bulk_is_paused


async def test_only_a_few_that_waited_go_on_per_iteration_of_the_event_loop(urgent: UrgentWork) -> None:
    went_on: list[int] = []

    async def bulk(number: int) -> None:
        await urgent.wait_while_paused()
        went_on.append(number)

    with urgent.under_way():
        tasks = [asyncio.ensure_future(bulk(number)) for number in range(40)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
    iterations = 0
    while len(went_on) < 39:
        before = len(went_on)
        await asyncio.sleep(0)
        assert len(went_on) - before <= 4
        iterations += 1
        assert iterations < 100
    assert went_on == list(range(1, 40))
