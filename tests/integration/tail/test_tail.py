"""Tail over real gRPC: commits are made by hand, so that they can be held open, reordered, rolled up and dropped."""

from __future__ import annotations

import uuid
from uuid import UUID

import pytest

from runstream_service.database.pool import Database
from runstream_service.query.tail import tail
from tests.integration.tail.conftest import drop, listening, rotate
from tests.support.tail import ManualCommit, TailReplica, new_series, tail_replica

# -- what comes ------------------------------------------------------------------------------------------------------


async def test_first_answer_comes_at_once_and_later_points_as_they_are_committed(
    replica: TailReplica, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    await manual.write(loss, [1, 2])
    caller = await replica.follow(run_id).opened()
    assert caller.points == []
    await manual.write(loss, [3], values=[float("inf")])
    assert await caller.got(1) == [3]
    assert caller.points == [("loss", 0, 0, 3, float("inf"))]
    await manual.write(loss, [4, 5, 4])
    assert await caller.got(4) == [3, 4, 4, 5]


async def test_filters_by_key_and_rank_and_by_run(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    other_run = uuid.uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'other', now())", other_run
    )
    by_key = await replica.follow(run_id, keys=["loss", "nothing"]).opened()
    by_rank = await replica.follow(run_id, rank=1).opened()
    whole = await replica.follow(run_id).opened()
    await manual.write(loss, [1])
    await manual.write(await new_series(database, run_id, "loss", rank=1), [2])
    await manual.write(await new_series(database, run_id, "acc", rank=1), [3])
    await manual.write(await new_series(database, other_run, "loss"), [4])
    assert await whole.got(3) == [1, 2, 3]
    assert await by_key.got(2) == [1, 2]
    assert await by_rank.got(2) == [2, 3]


async def test_series_that_come_up_later_are_followed(
    replica: TailReplica, database: Database, run_id: UUID, manual: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    for number in range(3):
        await manual.write(await new_series(database, run_id, f"key{number}"), [number])
        await caller.got(number + 1)
    assert [point[0] for point in caller.points] == ["key0", "key1", "key2"]


async def test_deleted_series_disappear_at_once_and_start_again(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    await manual.write(loss, [1])
    await caller.got(1)
    await database.execute("UPDATE series SET purge_epoch = 1")
    await manual.write(loss, [2])
    anew = await new_series(database, run_id, "loss")
    assert anew != loss
    await manual.write(anew, [3])
    assert await caller.got(2) == [1, 3]


async def test_without_notifications_points_come_within_two_seconds(
    replica: TailReplica, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    await manual.begin(loss, [1])
    await manual.connection.execute("COMMIT")
    await caller.until(lambda: len(caller.points) == 1, timeout_s=3)


async def test_the_notifier_works_again_after_its_connection_was_cut(
    replica: TailReplica,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    run_id: UUID,
    loss: int,
    manual: ManualCommit,
) -> None:
    monkeypatch.setattr(tail, "_POLL_AT_LEAST_EVERY_S", 60.0)
    caller = await replica.follow(run_id).opened()
    killed = await listening(database)
    assert await database.fetchval("SELECT pg_terminate_backend($1::int)", killed)
    assert await listening(database, other_than=killed) != killed
    await manual.write(loss, [1])
    assert await caller.got(1) == [1]


# -- each point once -------------------------------------------------------------------------------------------------


async def test_groups_that_commit_in_the_opposite_order_of_their_numbers(
    replica: TailReplica, run_id: UUID, loss: int, manual: ManualCommit, other_hand: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    await manual.begin(loss, [1])
    await other_hand.begin(loss, [2])
    await other_hand.commit()
    await caller.reached(1)
    cursor = await caller.leave()
    again = await replica.follow(run_id, cursor=cursor).opened()
    await manual.commit()
    assert await again.got(1) == [1]
    assert caller.points == [("loss", 0, 0, 2, 2.0)]


async def test_no_gap_and_no_repeat_across_a_reconnect_to_another_replica(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit, other_hand: ManualCommit
) -> None:
    async with tail_replica(database) as other:
        caller = await replica.follow(run_id).opened()
        cursor, steps, step = caller.cursor, [], 0
        for turn in range(12):
            await other_hand.begin(loss, [1000 + turn])
            for _ in range(3):
                step += 1
                await manual.write(loss, [step])
            if turn % 2:
                await caller.reached(1)
            await caller.leave()
            steps += [point[3] for point in caller.points]
            cursor = caller.cursor
            await other_hand.commit()
            caller = await (other, replica)[turn % 2].follow(run_id, cursor=cursor).opened()
        missing = step + 12 - len(steps)
        steps += await caller.got(missing)
        assert sorted(steps) == [*range(1, step + 1), *range(1000, 1012)]


async def test_a_cursor_stays_good_across_rotate_and_roll_up(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    cursor = await caller.leave()
    await manual.write(loss, [1])
    manual.epoch = await rotate(database)
    await manual.write(loss, [2])
    manual.epoch = await rotate(database)
    await manual.write(loss, [3])
    caller = await replica.follow(run_id, cursor=cursor).opened()
    assert await caller.got(3) == [1, 2, 3]


async def test_a_stream_goes_on_across_rotate_roll_up_and_drop(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    for step in range(6):
        await manual.write(loss, [step])
        await caller.reached(step + 1)
        manual.epoch = await rotate(database)
        if step >= 2:
            await drop(database, manual.epoch - 2)
    assert await caller.got(6) == list(range(6))


async def test_a_commit_of_a_closing_epoch_comes_after_those_of_the_next(
    replica: TailReplica, database: Database, run_id: UUID, loss: int, manual: ManualCommit, other_hand: ManualCommit
) -> None:
    caller = await replica.follow(run_id).opened()
    await other_hand.begin(loss, [1])
    manual.epoch = await rotate(database, roll=False)
    await manual.write(loss, [2])
    await caller.got(1)
    cursor = await caller.leave()
    await other_hand.commit()
    again = await replica.follow(run_id, cursor=cursor).opened()
    assert await again.got(1) == [1]
