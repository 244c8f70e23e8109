"""Batches: the bytes on the wire, and that they say exactly what was logged."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream import _batches
from runstream._batches import Columns, SeriesTable, refusal_of
from runstream._buffer import Buffer, Marker
from runstream._earlier_steps import EarlierSteps
from runstream._notices import Notices
from runstream._outbox import Outbox
from runstream._sender import Sender
from runstream.v1 import ingest_pb2, packed_pb2

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
VALUES = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
KEYS = st.sampled_from(["loss", "acc", "grad/norm", "ünïcode", "x" * 250])


def pipeline_parts(batch_points=1_000) -> tuple[Buffer, Outbox, Sender]:
    notices = Notices("0" * 32, "test:1", 1_000_000)
    buffer = Buffer(1_000_000, 64_000_000, notices, lambda: None)
    outbox = Outbox(buffer, SeriesTable())
    outbox.batch_points = batch_points
    return buffer, outbox, Sender(buffer, outbox, notices, EarlierSteps(notices), 0.5, lambda: False)


def bits(value) -> object:
    return "nan" if math.isnan(value) else struct.pack("<d", value)


@given(
    calls=st.lists(st.tuples(st.dictionaries(KEYS, VALUES, max_size=5), INT64, TIMES), max_size=60),
    batch_points=st.integers(1, 40),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_logged_decodes_from_the_sealed_bytes_as_it_was(calls, batch_points):
    buffer, outbox, sender = pipeline_parts(batch_points)
    for metrics, step, time_us in calls:
        buffer.put(metrics, step, time_us)
    buffer.mark(marker := Marker())
    sender.drain()
    decoded = []
    for number, sealed in enumerate(outbox._batches, start=1):
        batch = ingest_pb2.AppendRequest.FromString(sealed.data).batch
        assert batch.number == sealed.number == number
        assert 0 < batch.point_count == sealed.points == len(batch.value) <= batch_points
        # The same content through the plain message makes the same bytes.
        assert ingest_pb2.AppendRequest(batch=batch).SerializeToString() == sealed.data
        assert sealed.series_indexes() == set(batch.series_index)
        keys = declared(outbox.series, set(batch.series_index))
        rows = zip(batch.series_index, batch.step, batch.time_unix_us, batch.value, strict=True)
        decoded += [(keys[index], step, time_us, bits(value)) for index, step, time_us, value in rows]
    expected = [(key, step, time_us, bits(value)) for metrics, step, time_us in calls for key, value in metrics.items()]
    assert decoded == expected
    assert marker.ordinal == len(outbox._batches)
    outbox.highest_sent = outbox.next_number - 1
    outbox.acknowledge(outbox.producer, outbox.highest_sent)
    key_bytes = sum(300 + len(key) for key in {key for metrics, _, _ in calls for key in metrics})
    assert buffer.account() == (len(expected), 0, key_bytes, {})


def declared(series, indexes) -> dict[int, str]:
    keys = {}
    for message in series.declarations(indexes):
        for one in ingest_pb2.AppendRequest.FromString(message).declare.series:
            keys[one.series_index] = one.key
    assert set(keys) == indexes
    return keys


def test_renumbering_changes_nothing_but_the_number():
    columns = Columns()
    for n in range(10):
        columns.append(n % 3, n, n * 10, n / 7)
    batch = columns.seal(5, 77)
    again = batch.renumbered(1)
    before, after = (ingest_pb2.AppendRequest.FromString(one.data).batch for one in (batch, again))
    assert (before.number, after.number, again.number, again.ordinal) == (77, 1, 1, 5)
    before.number = 1
    assert before == after


def test_a_batch_says_at_each_sending_how_old_it_is_and_is_the_same_otherwise():
    columns = Columns(logged_s=100.0)
    columns.append(1, 2, 3, 4.0)
    batch = columns.seal(5, 77)
    sealed = ingest_pb2.AppendRequest.FromString(batch.data)
    for now_s, age_us in ((100.25, 250_000), (3_700.0, 3_600_000_000), (99.0, 0)):
        sent = ingest_pb2.AppendRequest.FromString(batch.sent_at(now_s))
        assert (sent.oldest_age_us, sent.sent_us) == (age_us, round(now_s * 1e6))
        assert sent.batch == sealed.batch
    assert not sealed.HasField("oldest_age_us")
    renumbered = ingest_pb2.AppendRequest.FromString(batch.renumbered(1).sent_at(101.0))
    assert (renumbered.oldest_age_us, renumbered.batch.number) == (1_000_000, 1)


def test_columns_are_swapped_on_a_big_endian_machine(monkeypatch):
    columns = Columns()
    columns.append(1, 2, 3, 4.0)
    monkeypatch.setattr(_batches, "_LITTLE_ENDIAN", False)
    batch = packed_pb2.PackedAppendRequest.FromString(columns.seal(1, 1).data).batch
    assert batch.step == struct.pack(">q", 2)
    assert columns.steps[0] == 2
    assert columns.seal(1, 1).series_indexes() == {1}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (7, "key_not_a_string"),
        ("", "key_empty"),
        ("k" * 251, "key_too_long"),
        ("a\0b", "key_control_character"),
        ("a\nb", "key_control_character"),
        ("a\x85b", "key_control_character"),
        ("a\ud800b", "key_not_utf8"),
    ],
)
def test_a_bad_key_is_refused_with_its_reason_and_the_rest_of_the_row_goes_on(key, reason):
    buffer, outbox, sender = pipeline_parts()
    buffer.put({key: 1.0, "good": 2.0}, 0, None)
    sender.drain()
    sender._seal()
    assert buffer.refused == {reason: 1}
    assert [batch.points for batch in outbox._batches] == [1]


@pytest.mark.parametrize("key", ["k" * 250, "'; DROP TABLE x; --", "a/b c", "漢字", "\u200b", "\u2028"])
def test_a_strange_key_is_a_key(key):
    assert refusal_of(key) is None


def test_more_keys_than_a_run_may_have_are_refused_without_being_kept():
    buffer, outbox, sender = pipeline_parts()
    outbox.series.max_series = 3
    for n in range(10):
        buffer.put({f"key{n}": 1.0}, 0, None)
    sender.drain()
    assert buffer.refused == {"too_many_series": 7}
    assert len(outbox.series) == 3


def test_many_series_are_declared_in_messages_of_bounded_size():
    series = SeriesTable()
    for n in range(1_200):
        series.add(f"{n:0>250}")
    messages = series.declarations(set(range(1_200)))
    assert len(messages) == 3
    assert max(map(len, messages)) < 200_000
