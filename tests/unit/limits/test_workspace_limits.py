"""Limits of workspaces: their points per second, and the part of each front end."""

from __future__ import annotations

import asyncio

import pytest

from runstream_service.ingest.backpressure import PointBudget
from runstream_service.limits.point_rates import BURST_S, PointRates
from runstream_service.limits.workspace_limits import Limits, WorkspaceLimits
from runstream_service.sharing.fair_queue import FairQueue

LIMITED, FREE = 1, 2


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_points_per_second_are_those_of_the_limit_after_a_burst() -> None:
    clock = _Clock()
    rates = PointRates(lambda workspace: 100 if workspace == LIMITED else 0, clock)
    sent = 0
    for _ in range(1_000):  # a hundred seconds
        clock.now += 0.1
        while not rates.wait_s(LIMITED):
            rates.spend(LIMITED, 7)
            sent += 7
    assert abs(sent - 100 * (100 + BURST_S)) < 20
    assert rates.wait_s(FREE) == 0


def test_a_batch_that_is_larger_than_the_burst_has_its_turn_and_is_paid_for_afterwards() -> None:
    clock = _Clock()
    rates = PointRates(lambda _workspace: 10, clock)
    assert not rates.wait_s(LIMITED)
    rates.spend(LIMITED, 1_000)
    assert rates.wait_s(LIMITED) == pytest.approx((1_000 - 10 * BURST_S) / 10, abs=0.2)
    clock.now += rates.wait_s(LIMITED)
    assert not rates.wait_s(LIMITED)


def test_a_limit_that_is_raised_or_taken_away_holds_at_once() -> None:
    clock, limit = _Clock(), 10
    rates = PointRates(lambda _workspace: limit, clock)
    rates.spend(LIMITED, 1_050)
    before = rates.wait_s(LIMITED)
    limit = 100
    assert rates.wait_s(LIMITED) == pytest.approx(before / 10, rel=0.05)
    limit = 0
    assert not rates.wait_s(LIMITED)


def test_a_paused_workspace_has_no_turn_and_keeps_its_order() -> None:
    line: FairQueue[str] = FairQueue(lambda _workspace: 0)
    line.join(LIMITED, "a")
    line.pause(LIMITED)
    line.join(LIMITED, "b")
    assert line.next() is None
    line.join(FREE, "c")
    assert (len(line), line.length_of(LIMITED), line.next()) == (3, 2, (FREE, "c"))
    assert line.leave(LIMITED, "a")
    line.resume(LIMITED)
    line.had_turn(FREE, "c")
    assert line.next() == (LIMITED, "b")


def test_a_workspace_that_nobody_waits_for_may_be_paused_and_resumed() -> None:
    line: FairQueue[str] = FairQueue(lambda _workspace: 0)
    line.pause(LIMITED)
    line.resume(LIMITED)
    assert (line.next(), line.waits(LIMITED)) == (None, False)


async def test_points_above_the_limit_wait_and_do_not_hold_up_another_workspace() -> None:
    limits = WorkspaceLimits(Limits())
    limits._own, limits.any_points_per_second = {LIMITED: Limits(points_per_second=1_000)}, True
    budget = PointBudget(1_000_000, limits=limits)
    await budget.acquire(LIMITED, 10_000)  # five seconds of debt
    waiting = asyncio.ensure_future(budget.acquire(LIMITED, 1))
    await asyncio.sleep(0)
    await asyncio.wait_for(budget.acquire(FREE, 500_000), 5)
    assert not waiting.done()
    assert budget.rate_wait_s(LIMITED) == pytest.approx(5, abs=0.5)
    limits._own, limits._parts = {}, {}  # the limit is taken away
    await asyncio.wait_for(waiting, 10)


def test_each_front_end_has_an_equal_part_of_what_is_divided() -> None:
    limits = WorkspaceLimits(Limits(points_per_second=1_000, streams=3, series_per_run=7, file_bytes=9))
    assert limits.part_of(LIMITED) == limits.of(LIMITED)
    limits._front_ends, limits._parts = {LIMITED: 4}, {}
    assert limits.part_of(LIMITED) == Limits(points_per_second=250, streams=1, series_per_run=7, file_bytes=9)
    assert limits.part_of(FREE).points_per_second == 1_000


def test_a_refusal_names_the_limit_its_value_the_workspace_and_what_to_do() -> None:
    limits = WorkspaceLimits(Limits(streams=10))
    limits._names, limits._front_ends = {LIMITED: "team-a"}, {LIMITED: 2}
    error = limits.reached("streams", LIMITED, retry_after_s=5)
    assert (error.reason, error.retry_after_s) == ("LIMIT_REACHED", 5)
    assert error.message == (
        "workspace 'team-a' has reached its limit of 10 open streams, 5 of them at this replica (runstream workspace "
        "limits team-a): try again in 5 s, use less at a time, or ask an admin for more"
    )
