"""A batch is decoded into the columns that were sent, and other messages get a clear error."""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from google.protobuf.internal import api_implementation
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream.v1 import ingest_pb2, packed_pb2, query_pb2
from runstream_service.errors.core import ColumnLengths, MalformedMessage, MessageTooLarge
from runstream_service.ingest import decode as decode_module
from runstream_service.ingest.decode import Batch, Batches, EncodedDeclare, decode
from runstream_service.ingest.limits import MAX_BATCHES_PER_MESSAGE, MAX_TIME_UNIX_US

int64 = st.integers(-(2**63), 2**63 - 1)
Rows = list[tuple[int, int, int, float]]  # series, step, time, value
BatchRows = list[tuple[int, int, int, Rows]]  # producer, number, age, points
Changes = list[tuple[int, bytes, int]]  # position, inserted bytes, how many are removed
points = st.lists(st.tuples(st.integers(0, 2**32 - 1), int64, int64, st.floats(width=64)), max_size=50)


def _request(rows: Rows, number: int = 1) -> ingest_pb2.AppendRequest:
    index, step, time, value = zip(*rows, strict=True) if rows else ((), (), (), ())
    batch = ingest_pb2.Batch(
        number=number, point_count=len(rows), series_index=index, step=step, time_unix_us=time, value=value
    )
    return ingest_pb2.AppendRequest(batch=batch)


def _one(decoded: object) -> Batch:
    assert isinstance(decoded, Batches)
    (batch,) = decoded.batches
    return batch


def _bits(values: Iterable[float]) -> list[object]:
    return [struct.pack("<d", value) if not math.isnan(value) else "nan" for value in values]


@given(points, st.integers(0, 2**64 - 1))
def test_packed_columns_hold_what_the_repeated_fields_held(rows: Rows, number: int) -> None:
    request = _request(rows, number)
    batch = _one(decode(request.SerializeToString()))
    assert batch.number == number
    assert batch.series_index.tolist() == list(request.batch.series_index)
    assert batch.step.tolist() == list(request.batch.step)
    assert batch.time_unix_us.tolist() == list(request.batch.time_unix_us)
    assert _bits(batch.value.tolist()) == _bits(request.batch.value)


@given(points)
def test_a_batch_written_as_packed_columns_is_the_same_bytes(rows: Rows) -> None:
    request = _request(rows, 7)
    packed = packed_pb2.PackedBatch(
        number=7,
        point_count=len(rows),
        series_index=np.array(request.batch.series_index, "<u4").tobytes(),
        step=np.array(request.batch.step, "<i8").tobytes(),
        time_unix_us=np.array(request.batch.time_unix_us, "<i8").tobytes(),
        value=np.array(request.batch.value, "<f8").tobytes(),
    )
    assert packed_pb2.PackedAppendRequest(batch=packed).SerializeToString() == request.SerializeToString()


def _outcome(message: bytes) -> object:
    try:
        decoded = decode(message)
    except (ColumnLengths, MalformedMessage) as error:
        return type(error), error.field
    if not isinstance(decoded, Batches):
        return decoded
    return decoded.sent_us, decoded.points, decoded.times_are_usual, [_plain(batch) for batch in decoded.batches]


def assert_the_same_without(request: ingest_pb2.AppendRequest, changes: Changes, reader: str) -> None:
    """The message, changed at random, means the same without the function that reads its columns in place."""
    message = request.SerializeToString()
    for position, inserted, removed in changes:
        position %= len(message) + 1
        message = message[:position] + inserted + message[position + removed :]
    in_place = _outcome(message)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_module, reader, lambda _: None)
        assert _outcome(message) == in_place


def _plain(batch: Batch) -> object:
    columns = (batch.series_index, batch.step, batch.time_unix_us, batch.value)
    return batch.producer_index, batch.number, batch.oldest_age_us, [column.tobytes() for column in columns]


@given(
    points,
    st.lists(st.tuples(st.integers(0, 2_000), st.binary(max_size=6), st.integers(0, 3)), max_size=2),
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.integers(0, 2**64 - 1),
)
def test_reading_columns_in_place_gives_what_protobuf_gives_whatever_the_bytes(
    rows: Rows, changes: Changes, age_us: int | None, sent_us: int | None
) -> None:
    request = _request(rows, 300)
    if age_us is not None:
        request.oldest_age_us = age_us
    if sent_us is not None:
        request.sent_us = sent_us
    assert_the_same_without(request, changes, "_batch_in_place")


batches = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), points), max_size=8
)


def _set_request(rows: BatchRows, *, with_age: bool = True) -> ingest_pb2.AppendRequest:
    every = [point for *_, of_batch in rows for point in of_batch]
    index, step, time, value = zip(*every, strict=True) if every else ((), (), (), ())
    batch_set = ingest_pb2.BatchSet(
        producer_index=[producer for producer, *_ in rows],
        number=[number for _, number, *_ in rows],
        point_count=[len(of_batch) for *_, of_batch in rows],
        oldest_age_us=[age_us for *_, age_us, _ in rows] if with_age else [],
        series_index=index,
        step=step,
        time_unix_us=time,
        value=value,
    )
    return ingest_pb2.AppendRequest(batches=batch_set)


@settings(deadline=None)
@given(batches, st.booleans())
def test_a_batch_set_is_its_batches_one_after_another(rows: BatchRows, with_age: bool) -> None:
    decoded = decode(_set_request(rows, with_age=with_age).SerializeToString())
    assert isinstance(decoded, Batches)
    assert decoded.points == sum(len(of_batch) for *_, of_batch in rows)
    for batch, (producer, number, age_us, of_batch) in zip(decoded.batches, rows, strict=True):
        alone = _one(decode(_request(of_batch, number).SerializeToString()))
        alone.producer_index, alone.oldest_age_us = producer, age_us if with_age else None
        assert _plain(batch) == _plain(alone)
    usual = all(0 <= time <= MAX_TIME_UNIX_US for *_, of_batch in rows for _, _, time, _ in of_batch)
    assert decoded.times_are_usual == usual


@settings(deadline=None)
@given(
    batches,
    st.lists(st.tuples(st.integers(0, 2_000), st.binary(max_size=6), st.integers(0, 9)), max_size=2),
    st.none() | st.integers(0, 2**64 - 1),
)
def test_reading_a_batch_set_in_place_gives_what_protobuf_gives_whatever_the_bytes(
    rows: BatchRows, changes: Changes, sent_us: int | None
) -> None:
    request = _set_request(rows)
    if sent_us is not None:
        request.sent_us = sent_us
    assert_the_same_without(request, changes, "_batch_set_in_place")


@pytest.mark.parametrize("column", [field.name for field in ingest_pb2.BatchSet.DESCRIPTOR.fields])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_column_of_a_batch_set_with_another_length_is_named(
    monkeypatch: pytest.MonkeyPatch, column: str, in_place: bool
) -> None:
    request = _set_request([(0, 1, 5, [(0, 1, 2, 3.0)] * 2), (1, 1, 5, [(0, 1, 2, 3.0)])])
    getattr(request.batches, column).append(1)
    if not in_place:
        monkeypatch.setattr(decode_module, "_batch_set_in_place", lambda _: None)
    with pytest.raises(ColumnLengths) as caught:
        decode(request.SerializeToString())
    # One count too many is seen at the first column that has one value less.
    assert caught.value.field == f"batches.{column if column != 'point_count' else 'producer_index'}"


def test_a_message_with_more_batches_than_the_event_loop_should_take_at_once_is_too_large() -> None:
    message = _set_request([(0, 1, 0, [])] * (MAX_BATCHES_PER_MESSAGE + 1)).SerializeToString()
    with pytest.raises(MessageTooLarge):
        decode(message)
    decoded = decode(_set_request([(0, 1, 0, [])] * MAX_BATCHES_PER_MESSAGE).SerializeToString())
    assert isinstance(decoded, Batches)
    assert len(decoded.batches) == MAX_BATCHES_PER_MESSAGE


def test_closing_names_its_producer() -> None:
    message = ingest_pb2.AppendRequest(close=ingest_pb2.Close(producer_index=7)).SerializeToString()
    assert decode(message) == ingest_pb2.Close(producer_index=7)


def test_a_declare_names_its_producer_before_it_is_decoded() -> None:
    message = ingest_pb2.AppendRequest(declare=ingest_pb2.Declare(producer_index=7)).SerializeToString()
    decoded = decode(message)
    assert isinstance(decoded, EncodedDeclare)
    assert decoded.producer_index == 7


@pytest.mark.parametrize("more", [{"batch": packed_pb2.PackedBatch(number=9)}, {"open": packed_pb2.PackedOpen()}])
def test_a_second_message_in_the_same_bytes_is_treated_as_protobuf_does(more: dict[str, Any]) -> None:
    message = (
        _request([(0, 1, 2, 3.0)]).SerializeToString() + packed_pb2.PackedAppendRequest(**more).SerializeToString()
    )
    decoded = decode(message)
    if "batch" in more:
        assert _one(decoded).number == 9
    else:
        assert isinstance(decoded, ingest_pb2.Open)


def test_the_columns_of_a_batch_as_clients_send_it_are_views_of_the_message() -> None:
    message = _request([(0, 1, 2, 3.0)]).SerializeToString()
    batch = _one(decode(message))
    bases: list[object] = [column.base for column in (batch.series_index, batch.step, batch.time_unix_us, batch.value)]
    assert all(base is message for base in bases)


@given(st.lists(st.tuples(int64, int64, st.floats(width=64, allow_nan=False)), max_size=50))
def test_a_history_answer_written_as_packed_columns_reads_as_repeated_fields(
    rows: list[tuple[int, int, float]],
) -> None:
    step, time, value = zip(*rows, strict=True) if rows else ((), (), ())
    series = query_pb2.Series(run_id="a" * 32, key="loss", rank=3, attempt=1)
    packed = packed_pb2.PackedHistoryResponse(
        series=series.SerializeToString(),
        point_count=len(rows),
        step=np.array(step, "<i8").tobytes(),
        time_unix_us=np.array(time, "<i8").tobytes(),
        value=np.array(value, "<f8").tobytes(),
    )
    read = query_pb2.HistoryResponse.FromString(packed.SerializeToString())
    assert (read.series, list(read.step), list(read.time_unix_us), list(read.value)) == (
        series, list(step), list(time), list(value),
    )  # fmt: skip


@pytest.mark.parametrize("column", ["series_index", "step", "time_unix_us", "value"])
@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_columns_of_different_lengths_are_refused_and_the_error_names_the_column(column: str, change: str) -> None:
    request = _request([(0, 1, 2, 3.0), (0, 2, 3, 4.0)])
    values = getattr(request.batch, column)
    changed = {"shorter": values[:1], "longer": [*values, values[0]], "empty": []}[change]
    del values[:]
    values.extend(changed)
    with pytest.raises(ColumnLengths) as caught:
        decode(request.SerializeToString())
    assert caught.value.field == f"batch.{column}"


def test_a_column_that_an_encoder_split_in_two_records_is_refused_rather_than_half_lost() -> None:
    whole = _request([(0, 1, 2, 3.0)])
    # Protobuf lets an encoder write a packed field in pieces; every column here comes as two records of one value.
    message = ingest_pb2.AppendRequest.FromString(whole.SerializeToString())
    body = message.batch.SerializeToString()
    doubled = packed_pb2.PackedBatch.FromString(body)
    doubled.point_count = 2
    raw = (
        doubled.SerializeToString()
        + packed_pb2.PackedBatch(
            series_index=doubled.series_index, step=doubled.step, time_unix_us=doubled.time_unix_us, value=doubled.value
        ).SerializeToString()
    )
    wire = b"\x1a" + bytes([len(raw)]) + raw
    assert len(ingest_pb2.AppendRequest.FromString(wire).batch.step) == 2, "the official decoder joins them"
    with pytest.raises(ColumnLengths):
        decode(wire)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xff\xff",
        b"\x1a\x80",
        b"\x12\x06\x0a\x04\x12\x02\xff\xfe",  # a key that is not UTF-8
        b"\x7a\x00",  # a field from the future alone
    ],
)
def test_bytes_that_are_no_message_are_refused_as_malformed(message: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        _decode_whole(message)
    assert caught.value.field == "message"


def _decode_whole(message: bytes) -> None:
    request = decode(message)
    assert isinstance(request, EncodedDeclare)
    request.decode()


def test_deep_nesting_is_refused_rather_than_recursed_into() -> None:
    nested = b""
    for _ in range(200):
        nested = b"\x0b" + nested + b"\x0c"  # a group in a group in ...
    with pytest.raises(MalformedMessage):
        decode(b"\x12" + bytes([0x90, 0x03]) + nested)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(message: bytes) -> None:
    with contextlib.suppress(MalformedMessage, ColumnLengths):
        decode(message)


def test_protobuf_runs_on_its_fast_backend() -> None:
    assert api_implementation.Type() == "upb"
