"""A group asks the ledger once for each producer and copies exactly what it allows."""

from __future__ import annotations

from uuid import UUID

import numpy as np

from runstream_service.core.errors import Fenced, SequenceGap
from runstream_service.ingest.group import Group, Verdict
from runstream_service.ingest.stream import PendingBatch, ProducerStream


def _stream(producer, session=1):
    return ProducerStream(UUID(int=producer), UUID(int=99), 0, 0, session, 0, "once")


def _batch(stream, number, points=2):
    column = np.arange(points, dtype=np.int64)
    return PendingBatch(stream, number, column, column, column, column.astype(np.float64))


async def test_batches_of_one_producer_become_one_range():
    one, two = _stream(1), _stream(2)
    group = Group([_batch(one, 4), _batch(two, 1, points=5), _batch(one, 5, points=3)])
    assert group.begin_arguments() == (
        [one.producer_id, two.producer_id], [1, 1], [4, 1], [5, 1],
        [1, 1, 2], [4, 5, 1], [2, 3, 5],
        [], [], [], [],
    )  # fmt: skip
    assert group.points == 10


async def test_two_sessions_of_one_producer_in_one_group_are_judged_apart():
    old, new = _stream(1, session=1), _stream(1, session=2)
    first, second = _batch(old, 1), _batch(new, 1)
    group = Group([first, second])
    group.apply_verdicts([Verdict(1, 1, "fenced", 0), Verdict(1, 1, "advanced", 0)])
    assert group.accepted == [second]
    assert [(item, type(error)) for item, error in group.rejected] == [(first, Fenced)]


async def test_of_an_overlapping_range_only_the_new_part_is_copied():
    stream = _stream(1)
    group = Group([_batch(stream, number) for number in (3, 4, 5)])
    group.apply_verdicts([Verdict(7, 1, "advanced", 4)])
    assert [s.number for s in group.duplicates] == [3, 4]
    assert [s.number for s in group.accepted] == [5]
    assert group.table == "metric_points_hot_7"


async def test_a_gap_is_rejected_whole():
    stream = _stream(1)
    group = Group([_batch(stream, 5)])
    group.apply_verdicts([Verdict(1, 1, "gap", 2)])
    assert [type(error) for _, error in group.rejected] == [SequenceGap]
    assert group.encode() is None


async def test_a_group_without_points_copies_nothing():
    group = Group([_batch(_stream(1), 1, points=0)])
    group.apply_verdicts([Verdict(1, 1, "advanced", 0)])
    assert group.encode() is None
    assert len(group.accepted) == 1
