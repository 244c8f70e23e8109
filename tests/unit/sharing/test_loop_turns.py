"""Messages of several workspaces take turns on the event loop."""

from __future__ import annotations

import asyncio

from runstream_service.sharing.loop_turns import LoopTurns

BUSY, QUIET = 1, 2


async def _message(turns: LoopTurns, workspace: int, order: list[int]) -> None:
    if not turns.try_take(workspace):
        await turns.wait(workspace)
    order.append(workspace)


async def test_with_a_single_workspace_nobody_waits() -> None:
    turns = LoopTurns()
    assert all(turns.try_take(BUSY) for _ in range(1_000))


async def test_while_something_urgent_is_under_way_only_a_few_messages_are_handled_per_iteration() -> None:
    is_urgent = False
    turns, order = LoopTurns(lambda: is_urgent), list[int]()
    assert all(turns.try_take(BUSY) for _ in range(100))
    is_urgent = True
    messages = [asyncio.ensure_future(_message(turns, BUSY, order)) for _ in range(50)]
    while len(order) < 50:
        before = len(order)
        await asyncio.sleep(0)
        assert len(order) - before <= 4
    await asyncio.gather(*messages)
    is_urgent = False
    assert all(turns.try_take(BUSY) for _ in range(100))


async def test_messages_of_another_workspace_do_not_wait_behind_hundreds() -> None:
    turns, order = LoopTurns(), list[int]()
    turns.try_take(QUIET)
    messages = [asyncio.ensure_future(_message(turns, BUSY, order)) for _ in range(200)]
    messages += [asyncio.ensure_future(_message(turns, QUIET, order)) for _ in range(4)]
    await asyncio.gather(*messages)
    assert (order.count(BUSY), order.count(QUIET)) == (200, 4)
    assert order.index(QUIET) < 12
    assert [place for place, workspace in enumerate(order) if workspace == QUIET][-1] < 20


async def test_one_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    turns, order = LoopTurns(), list[int]()
    turns.try_take(QUIET)
    messages = [asyncio.ensure_future(_message(turns, BUSY, order)) for _ in range(50)]
    await asyncio.sleep(0)
    for message in messages[40:]:
        message.cancel()
    await asyncio.gather(*messages, return_exceptions=True)
    assert len(order) == 40
    await asyncio.sleep(0)
    assert turns.try_take(BUSY)
