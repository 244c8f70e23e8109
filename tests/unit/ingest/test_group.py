"""A group asks the ledger once for each producer and copies exactly what it allows."""

from __future__ import annotations

import struct
from uuid import UUID

import numpy as np

from runstream_service.errors.core import Fenced, SequenceGap
from runstream_service.ingest.group import Group, Verdict
from runstream_service.ingest.producer import PendingBatch, Producer


def _stream(producer: int, session: int = 1) -> Producer:
    return Producer(UUID(int=producer), UUID(int=99), 0, 0, session, 0, "once")


def _batch(stream: Producer, number: int, points: int = 2) -> PendingBatch:
    """A pending batch whose values show where they are from."""
    column = np.arange(points, dtype=np.int64)
    return PendingBatch(stream, number, column, column, column, np.full(points, number + 0.25))


async def _copied(group: Group) -> list[int]:
    """The numbers of the batches in a group's COPY; of each as often as it has points."""
    encoded = group.rows()
    assert encoded is not None
    rows = b"".join([piece async for piece in encoded])
    return [number for number in range(10) for _ in range(rows.count(struct.pack(">d", number + 0.25)))]


async def test_batches_of_one_producer_become_one_range() -> None:
    one, two = _stream(1), _stream(2)
    group = Group([_batch(one, 4), _batch(two, 1, points=5), _batch(one, 5, points=3)])
    assert group.begin_arguments() == (
        [one.producer_id, two.producer_id], [1, 1], [4, 1], [5, 1],
        [1, 1, 2], [4, 5, 1], [2, 3, 5],
        [], [], [], [],
    )  # fmt: skip
    assert group.points == 10


async def test_two_sessions_of_one_producer_in_one_group_are_judged_apart() -> None:
    old, new = _stream(1, session=1), _stream(1, session=2)
    first, second = _batch(old, 1), _batch(new, 2)
    group = Group([first, second])
    group.encode()
    group.apply_verdicts([Verdict(1, 1, "fenced", 0), Verdict(1, 1, "advanced", 1)])
    assert group.accepted == [second]
    assert [(item, type(error)) for item, error in group.rejected] == [(first, Fenced)]
    assert await _copied(group) == [2, 2]


async def test_of_an_overlapping_range_only_the_new_part_is_copied() -> None:
    stream = _stream(1)
    group = Group([_batch(stream, number) for number in (3, 4, 5)])
    group.encode()
    group.apply_verdicts([Verdict(7, 1, "advanced", 4)])
    assert [s.number for s in group.duplicates] == [3, 4]
    assert [s.number for s in group.accepted] == [5]
    assert group.epoch == 7
    assert await _copied(group) == [5, 5]


async def test_a_gap_is_rejected_whole() -> None:
    stream = _stream(1)
    group = Group([_batch(stream, 5)])
    group.encode()
    group.apply_verdicts([Verdict(1, 1, "gap", 2)])
    assert [type(error) for _, error in group.rejected] == [SequenceGap]
    assert group.rows() is None


async def test_a_group_without_points_copies_nothing() -> None:
    group = Group([_batch(_stream(1), 1, points=0)])
    group.encode()
    group.apply_verdicts([Verdict(1, 1, "advanced", 0)])
    assert group.rows() is None
    assert len(group.accepted) == 1


async def test_the_rows_of_one_statement_name_the_verdict_and_the_batch_that_they_are_of() -> None:
    one, two = _stream(1), _stream(2)
    group = Group([_batch(one, 4), _batch(two, 1, points=300), _batch(one, 5, points=0), _batch(one, 6)])
    group.encode()
    owners, numbers, runs, *_, ranks, points = group.row_arguments()
    assert (owners, numbers) == ([1, 1, 2, 2], [4, 6, 1, 1])
    assert (set(runs), ranks) == ({UUID(int=99)}, [0] * 4)
    assert [len(row) for row in points] == [2 * 16, 2 * 16, 250 * 16, 50 * 16]


async def test_one_statement_takes_a_group_without_points() -> None:
    group = Group([_batch(_stream(1), 1, points=0)])
    group.encode()
    assert group.row_arguments() == ([],) * 8
