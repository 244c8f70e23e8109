"""The framing of event files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runstream.tensorboard.records import Damage, Record, RecordFramer, encode_record

DATA = st.binary(min_size=1, max_size=60)


def read(data: bytes) -> tuple[list[Record], list[Damage], int]:
    """Records, damage, and where reading stopped."""
    framer, at = RecordFramer(), 0
    records: list[Record] = []
    damage: list[Damage] = []
    while (one := framer.next(data, at)) is not None:
        assert one.start == at < one.end
        at = one.end
        if isinstance(one, Damage):
            damage.append(one)
        else:
            records.append(one)
    return records, damage, at


def test_a_record_is_as_tensorflow_writes_it() -> None:
    # The first record of a file that TensorFlow 2.16 wrote: length 24, and its masked checksum.
    assert encode_record(bytes(24))[:12].hex() == "1800000000000000a37f4b22"


@given(st.lists(DATA))
def test_what_was_written_is_read(parts: list[bytes]) -> None:
    records, damage, end = read(b"".join(map(encode_record, parts)))
    assert [record.data for record in records] == parts
    assert not damage
    assert end == sum(len(part) + 16 for part in parts)


@given(st.lists(DATA, min_size=1), st.data())
def test_half_of_a_record_is_waited_for(parts: list[bytes], data: st.DataObject) -> None:
    encoded = [encode_record(part) for part in parts]
    kept = data.draw(st.integers(0, len(encoded[-1]) - 1))
    before = b"".join(encoded[:-1])
    records, damage, end = read(before + encoded[-1][:kept])
    assert [record.data for record in records] == parts[:-1]
    assert not damage
    assert end == len(before)


@given(st.lists(DATA, min_size=2, max_size=8), st.data())
def test_a_flipped_bit_costs_one_record(parts: list[bytes], data: st.DataObject) -> None:
    encoded = [encode_record(part) for part in parts]
    hit = data.draw(st.integers(0, len(parts) - 2))
    damaged = bytearray(encoded[hit])
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    start = sum(map(len, encoded[:hit]))
    records, damage, _ = read(b"".join([*encoded[:hit], bytes(damaged), *encoded[hit + 1 :]]))
    assert [record.data for record in records] == [*parts[:hit], *parts[hit + 1 :]]
    assert [(one.start, one.end) for one in damage] == [(start, start + len(damaged))]


@given(DATA, st.integers(1, 100))
def test_zeros_are_waited_for_until_a_record_follows(part: bytes, count: int) -> None:
    first = encode_record(part)
    assert read(first + bytes(count))[1:] == ([], len(first))
    records, damage, _ = read(first + bytes(count) + first)
    assert [record.data for record in records] == [part, part]
    assert [(one.start, one.end) for one in damage] == [(len(first), len(first) + count)]


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    _, _, end = read(data)
    assert end <= len(data)
