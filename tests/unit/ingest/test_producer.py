"""One stream: numbers, declared series, refusals point by point."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_service.errors.core import Fenced, InvalidField, SequenceGap, UndeclaredSeries
from runstream_service.ingest.decode import Batch
from runstream_service.ingest.limits import (
    MAX_BATCH_POINTS,
    MAX_SERIES_PER_PRODUCER,
    MAX_TIME_UNIX_US,
    MIN_TIME_UNIX_US,
)
from runstream_service.ingest.producer import PendingBatch, Producer
from runstream_service.ingest.refusals import Reason
from runstream_service.ingest.series import ResolvedSeries


def _batch(number: int, index: Sequence[int] = (0,), times: Sequence[int] | None = None) -> Batch:
    count = len(index)
    return Batch(
        number,
        np.array(index, "<u4"),
        np.arange(count, dtype="<i8"),
        np.array(times if times is not None else [1_700_000_000_000_000] * count, "<i8"),
        np.arange(count, dtype="<f8"),
    )


def _received(stream: Producer, batch: Batch) -> PendingBatch:
    """Receives a batch that is not a duplicate."""
    pending = stream.receive(batch)
    assert pending is not None
    return pending


async def _stream(committed: int = 0, keys: Sequence[str] = ("loss",)) -> Producer:
    stream = Producer(UUID(int=1), UUID(int=2), 0, 0, 1, committed, "once")
    wanted = stream.new_keys(list(enumerate(keys)))
    stream.bind(wanted, ResolvedSeries({key: 100 + index for index, key in enumerate(keys)}))
    return stream


async def test_numbers_go_on_after_the_committed_one() -> None:
    stream = await _stream(committed=5)
    assert _received(stream, _batch(6)).number == 6
    assert _received(stream, _batch(7)).number == 7


async def test_a_resent_window_may_begin_before_the_committed_number_and_is_sorted_out() -> None:
    stream = await _stream(committed=5)
    assert [stream.receive(_batch(number)) is None for number in (4, 5, 6)] == [True, True, False]
    assert stream.duplicate_batches == 2


@pytest.mark.parametrize(
    ("committed", "numbers"), [(0, [2]), (5, [7]), (5, [6, 8]), (5, [6, 6]), (5, [4, 6]), (0, [0])]
)
async def test_a_gap_in_the_numbers_ends_the_stream(committed: int, numbers: list[int]) -> None:
    stream = await _stream(committed)
    for number in numbers[:-1]:
        stream.receive(_batch(number))
    with pytest.raises(SequenceGap) as caught:
        stream.receive(_batch(numbers[-1]))
    assert caught.value.field == "batch.number"


@pytest.mark.parametrize("index", [1, 63, 64, MAX_SERIES_PER_PRODUCER - 1])
async def test_an_undeclared_index_ends_the_stream_and_is_named(index: int) -> None:
    stream = await _stream()
    with pytest.raises(UndeclaredSeries, match=str(index)) as caught:
        stream.receive(_batch(1, [0, index]))
    assert caught.value.field == "batch.series_index"
    assert stream.receive(_batch(1, [0])) is not None, "the refused batch did not use its number up"


async def test_declaring_again_is_fine_and_another_key_for_an_index_is_not() -> None:
    stream = await _stream()
    assert stream.new_keys([(0, "loss")]) == {}
    with pytest.raises(InvalidField, match="index 0 is declared as 'accuracy'"):
        stream.new_keys([(0, "accuracy")])


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", Reason.KEY_EMPTY),
        ("k" * 251, Reason.KEY_TOO_LONG),
        ("a\x00b", Reason.KEY_CONTROL_CHARACTER),
        ("a\nb", Reason.KEY_CONTROL_CHARACTER),
        ("a\x7f", Reason.KEY_CONTROL_CHARACTER),
        ("a\x85", Reason.KEY_CONTROL_CHARACTER),
    ],
)
async def test_a_bad_key_costs_its_own_points_only(key: str, reason: Reason) -> None:
    stream = await _stream(keys=("loss",))
    assert stream.new_keys([(1, key), (2, "accuracy")]) == {2: "accuracy"}
    stream.bind({2: "accuracy"}, ResolvedSeries({"accuracy": 7}))
    pending = _received(stream, _batch(1, [1, 0, 1, 2]))
    assert pending.series_id.tolist() == [100, 7]
    assert pending.step.tolist() == [1, 3]
    assert [(r.reason, r.points) for r in pending.refusals] == [(reason, 2)]


@pytest.mark.parametrize(
    "key", ["k" * 250, 'it\'s "quoted"', "a/b/../c", "тест 中文 🙂", "%s; DROP TABLE series --", " "]
)
async def test_unusual_keys_are_keys(key: str) -> None:
    stream = await _stream()
    assert stream.new_keys([(1, key)]) == {1: key}


async def test_thousands_of_bad_keys_are_refused_without_keeping_each() -> None:
    stream = await _stream()
    count = 5_000
    assert stream.new_keys([(index, f"{index}\n") for index in range(1, count)]) == {}
    pending = _received(stream, _batch(1, range(count)))
    assert pending.points == 1
    assert sum(refusal.points for refusal in pending.refusals) == count - 1
    assert len(stream._refused_keys) < 200


async def test_what_a_stream_keeps_of_its_keys_is_small() -> None:
    keys = [f"layers/{number}/attention/gradient_norm" for number in range(2_000)]
    stream = await _stream(keys=keys)
    columns = [held for held in vars(stream).values() if isinstance(held, np.ndarray)]
    assert sum(column.nbytes for column in columns) < 40 * len(keys)
    held = [held for held in vars(stream).values() if isinstance(held, (dict, list, set)) and len(held) > 100]
    assert not held


async def test_points_with_a_time_outside_years_1_to_9999_are_refused_alone() -> None:
    stream = await _stream()
    times = [MIN_TIME_UNIX_US, MIN_TIME_UNIX_US - 1, 0, MAX_TIME_UNIX_US, MAX_TIME_UNIX_US + 1, -(2**63), 2**63 - 1]
    pending = _received(stream, _batch(1, [0] * 7, times))
    assert pending.time_unix_us.tolist() == [MIN_TIME_UNIX_US, 0, MAX_TIME_UNIX_US]
    assert [(r.reason, r.points) for r in pending.refusals] == [(Reason.TIME_OUT_OF_RANGE, 4)]
    assert str(MIN_TIME_UNIX_US - 1) in pending.refusals[0].example


async def test_a_point_that_is_wrong_twice_is_refused_once() -> None:
    stream = await _stream()
    stream.new_keys([(1, "")])
    pending = _received(stream, _batch(1, [1, 0], [2**63 - 1, 0]))
    assert sum(r.points for r in pending.refusals) == 1
    assert pending.points == 1


async def test_series_above_the_bound_are_refused_and_counted() -> None:
    stream = await _stream()
    assert stream.new_keys([(MAX_SERIES_PER_PRODUCER, "one too many")]) == {}
    pending = _received(stream, _batch(1, [0, MAX_SERIES_PER_PRODUCER, 2**32 - 1]))
    assert pending.points == 1
    assert [(r.reason, r.points) for r in pending.refusals] == [(Reason.TOO_MANY_SERIES, 2)]


async def test_a_batch_that_is_too_large_uses_its_number_up_and_stores_nothing() -> None:
    stream = await _stream()
    pending = _received(stream, _batch(1, [0] * (MAX_BATCH_POINTS + 1)))
    assert (pending.number, pending.points) == (1, 0)
    assert [(r.reason, r.points) for r in pending.refusals] == [(Reason.BATCH_TOO_LARGE, MAX_BATCH_POINTS + 1)]
    assert _received(stream, _batch(2)).points == 1


async def test_an_empty_batch_is_a_batch() -> None:
    stream = await _stream()
    pending = _received(stream, _batch(1, []))
    assert pending.points == 0
    assert pending.charge > 0, "or any number of them could wait"


async def test_one_ack_tells_of_many_commits_and_adds_refusals_up() -> None:
    stream = await _stream()
    stream.new_keys([(1, "")])
    all_pending = [_received(stream, _batch(number, [0, 1])) for number in (1, 2, 3)]
    for pending in all_pending:
        stream.committed(pending.number, pending.refusals)
    ack = stream.take_ack()
    assert ack is not None
    number, refusals = ack
    assert number == 3
    assert [(r.reason, r.points) for r in refusals] == [(Reason.KEY_EMPTY, 3)]
    assert stream.take_ack() is None


async def test_only_the_first_failure_of_a_stream_counts() -> None:
    stream = await _stream()
    stream.fail(Fenced("first"))
    stream.fail(Fenced("second"))
    assert stream.error is not None
    assert stream.error.message == "first"


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["good", "also good", "", "x" * 300, "tab\t"]), min_size=1, max_size=8),
    st.data(),
)
def test_every_point_is_either_submitted_or_refused(keys: list[str], data: st.DataObject) -> None:
    async def play() -> None:
        stream = Producer(UUID(int=1), UUID(int=2), 0, 0, 1, 0, "once")
        wanted = stream.new_keys(list(enumerate(keys)))
        ids = {key: 10 + position for position, key in enumerate(set(wanted.values()))}
        stream.bind(wanted, ResolvedSeries(ids))
        index = data.draw(st.lists(st.integers(0, len(keys) - 1), max_size=30))
        times = data.draw(st.lists(st.sampled_from([0, 2**62, -(2**62)]), min_size=len(index), max_size=len(index)))
        pending = _received(stream, _batch(1, index, times))
        assert pending is not None
        assert pending.points + sum(refusal.points for refusal in pending.refusals) == len(index)
        good = [i for i, time in zip(index, times, strict=True) if i in wanted and time == 0]
        assert pending.points == len(good)

    asyncio.run(play())
