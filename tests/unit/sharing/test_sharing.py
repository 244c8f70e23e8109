"""Bounded resources are shared between workspaces: they take turns, and a part stays free."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.errors.core import Overloaded
from runstream_service.ingest.backpressure import PointBudget
from runstream_service.sharing.capacity import SharedCapacity
from runstream_service.sharing.current import work_for
from runstream_service.sharing.fair_queue import FairQueue
from runstream_service.sharing.slots import FairSlots

BUSY, QUIET, OTHER = 1, 2, 3


def _turns(line: FairQueue[str]) -> list[str]:
    order: list[str] = []
    while (turn := line.next()) is not None:
        order.append(turn[1])
        line.had_turn(*turn)
    return order


def test_of_a_workspace_turns_come_in_the_order_of_arrival_and_workspaces_alternate() -> None:
    line: FairQueue[str] = FairQueue(lambda _workspace: 0)
    for name in ("b1", "b2", "b3", "b4"):
        line.join(BUSY, name)
    for name in ("q1", "q2"):
        line.join(QUIET, name)
    assert _turns(line) == ["b1", "q1", "b2", "q2", "b3", "b4"]


def test_the_workspace_that_holds_least_is_next_however_many_wait_for_others() -> None:
    held = {BUSY: 100, QUIET: 5}
    line: FairQueue[str] = FairQueue(lambda workspace: held.get(workspace, 0))
    for number in range(4_000):
        line.join(BUSY, f"b{number}")
    line.join(QUIET, "q1")
    assert line.next() == (QUIET, "q1")
    held[QUIET] = 101
    assert line.next() == (BUSY, "b0")


def test_one_that_has_left_has_no_turn() -> None:
    line: FairQueue[str] = FairQueue(lambda _workspace: 0)
    line.join(BUSY, "b1")
    line.join(QUIET, "q1")
    assert line.leave(BUSY, "b1")
    assert not line.leave(BUSY, "b1")
    assert (len(line), line.waits(BUSY), _turns(line)) == (1, False, ["q1"])


def test_a_single_workspace_may_hold_everything() -> None:
    capacity = SharedCapacity(100)
    assert all(capacity.try_take(BUSY) for _ in range(100))
    assert not capacity.try_take(BUSY)


def test_of_several_workspaces_none_takes_what_is_left_for_the_next() -> None:
    capacity = SharedCapacity(900)
    assert capacity.try_take(QUIET)
    while capacity.try_take(BUSY):
        pass
    assert 798 <= capacity.held_by(BUSY) <= 801
    while capacity.try_take(OTHER):
        pass
    assert capacity.held < 900, "something is left for a fourth one"
    assert capacity.try_take(QUIET, 10)


def test_workspaces_that_want_all_get_about_equal_parts_as_pieces_come_back() -> None:
    capacity = SharedCapacity(170)
    capacity.try_take(QUIET)
    capacity.release(QUIET)
    while capacity.try_take(BUSY):
        pass
    for _ in range(1_000):  # calls of both end, and both have more of them
        for workspace in (BUSY, OTHER):
            if capacity.held_by(workspace):
                capacity.release(workspace)
        for workspace in (BUSY, OTHER):
            capacity.try_take(workspace)
            capacity.try_take(workspace)
    # One piece that is free is eight more for each.
    assert abs(capacity.held_by(BUSY) - capacity.held_by(OTHER)) <= 16


@given(st.lists(st.tuples(st.sampled_from([BUSY, QUIET, OTHER]), st.integers(0, 40), st.booleans()), max_size=60))
def test_a_capacity_is_never_exceeded_and_ends_empty(steps: list[tuple[int, int, bool]]) -> None:
    capacity, taken = SharedCapacity(100), Taken()
    for workspace, amount, gives_back in steps:
        if gives_back and taken:
            capacity.release(*taken.pop())
        elif capacity.try_take(workspace, amount):
            taken.append((workspace, amount))
        assert capacity.held == sum(amount for _, amount in taken) <= 100
    for piece in taken:
        capacity.release(*piece)
    assert (capacity.held, capacity._by_workspace) == (0, {})


def _as(workspace: int, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """A task that works for a workspace."""
    context = contextvars.copy_context()
    context.run(work_for, workspace)
    return context.run(asyncio.ensure_future, work)


async def _hold(slots: FairSlots, order: list[str], name: str, until: asyncio.Event) -> None:
    async with slots.slot():
        order.append(name)
        await until.wait()


async def test_a_slot_that_becomes_free_goes_to_the_workspace_that_has_none() -> None:
    slots, order = FairSlots("reads", 2), list[str]()
    ends = [asyncio.Event() for _ in range(8)]
    tasks = [_as(BUSY, _hold(slots, order, f"b{n}", ends[n])) for n in range(6)]
    await asyncio.sleep(0)
    tasks += [_as(QUIET, _hold(slots, order, f"q{n}", ends[6 + n])) for n in range(2)]
    await asyncio.sleep(0)
    assert order == ["b0", "b1"], "one workspace may have all that is free"
    ends[0].set()
    await asyncio.wait(tasks[:1])
    await asyncio.sleep(0)
    assert order == ["b0", "b1", "q0"]
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)
    assert order.index("q1") < order.index("b3"), order


async def test_a_full_line_makes_room_for_a_workspace_with_fewer() -> None:
    slots, end, order = FairSlots("reads", 1, max_waiting=3), asyncio.Event(), list[str]()
    busy = [_as(BUSY, _hold(slots, order, f"b{n}", end)) for n in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="3 reads wait for their turn already"):
        await busy[4]
    quiet = _as(QUIET, _hold(slots, order, "q0", end))
    with pytest.raises(Overloaded, match="3 reads wait"):
        await busy[3]
    end.set()
    await asyncio.gather(*busy[:3], quiet)
    assert order[:2] in (["b0", "q0"], ["b0", "b1"])
    assert slots.waiting == 0


async def test_slots_do_not_leak_whenever_a_waiter_is_cancelled() -> None:
    for turns in range(4):
        slots, end, order = FairSlots("reads", 1), asyncio.Event(), list[str]()
        first = _as(BUSY, _hold(slots, order, "first", end))
        await asyncio.sleep(0)
        second = _as(BUSY, _hold(slots, order, "second", end))
        await asyncio.sleep(0)
        end.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with slots.slot(wait_s=5):
            pass


async def test_a_slot_that_does_not_become_free_in_time_is_an_error() -> None:
    slots = FairSlots("reads", 1)
    async with slots.slot():
        with pytest.raises(Overloaded, match="as many reads as this replica allows were under way for"):
            async with slots.slot(wait_s=0.01):
                pass
    assert slots.waiting == 0


Taken = list[tuple[int, int]]  # workspaces and points, in the order of their turns


def _push(budget: PointBudget, workspace: int, streams: int, points: int, taken: Taken) -> None:
    """Streams of a workspace wait, each of which always has a next batch."""
    for _ in range(streams):
        budget.enqueue(_Stream(workspace, points, taken))


class _Stream:
    def __init__(self, workspace: int, points: int, taken: Taken) -> None:
        self.workspace_id, self.wanted_points, self._taken = workspace, points, taken

    def admitted(self) -> bool:
        self._taken.append((self.workspace_id, self.wanted_points))
        return True


async def _commit_oldest(budget: PointBudget, taken: Taken, points: int) -> None:
    """A group commit: the points that came first leave the queue."""
    left = points
    while taken and left > 0:
        workspace, count = taken.pop(0)
        budget.release(workspace, count)
        left -= count
    for _ in range(40):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("streams", "points", "few_points"), [(4_000, 1_000, 1_000), (1_000, 100, 16_000)])
async def test_under_overload_four_streams_get_the_same_room_as_thousands_of_another_workspace(
    streams: int, points: int, few_points: int
) -> None:
    budget, taken = PointBudget(100_000), Taken()
    _push(budget, BUSY, streams, points, taken)
    await _commit_oldest(budget, taken, 0)
    _push(budget, QUIET, 4, few_points, taken)
    for _ in range(30):
        await _commit_oldest(budget, taken, 30_000)
    busy_points, quiet_points = budget.waiting_points_of(BUSY), budget.waiting_points_of(QUIET)
    assert abs(busy_points - quiet_points) <= 2 * max(points, few_points), (busy_points, quiet_points)


async def test_there_is_room_at_once_for_a_workspace_with_little_while_another_one_waits() -> None:
    budget, taken = PointBudget(100_000), Taken()
    assert budget.try_acquire(QUIET, 1)
    _push(budget, BUSY, 500, 1_000, taken)
    for _ in range(200):
        await asyncio.sleep(0)
    assert budget.waiting_points_of(BUSY) > 80_000
    assert budget.try_acquire(QUIET, 1_000), "another workspace's streams wait, but the next turn is this one's"


async def test_a_large_batch_that_waits_is_not_overtaken_forever_by_small_ones() -> None:
    budget, taken = PointBudget(100), Taken()
    small = itertools.count()
    while budget.try_acquire(QUIET, 1):
        next(small)
    _push(budget, BUSY, 1, 60, taken)
    for _ in range(next(small)):
        budget.release(QUIET, 1)
        assert not budget.try_acquire(QUIET, 1) or budget.waiting_points_of(BUSY)
        await asyncio.sleep(0)
    assert budget.waiting_points_of(BUSY) >= 60


def test_a_workspace_that_found_no_place_is_remembered_so_that_there_is_one_the_next_time() -> None:
    capacity = SharedCapacity(90)
    while capacity.try_take(BUSY):
        pass
    assert not capacity.try_take(QUIET)
    for _ in range(20):
        capacity.release(BUSY)
        capacity.try_take(BUSY)
    assert capacity.try_take(QUIET)
