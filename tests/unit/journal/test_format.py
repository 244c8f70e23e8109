import subprocess
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream.journal.format import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    batch_number,
    decode_batch,
    decode_declare,
    decode_json,
    decode_segment_header,
    encode_batch,
    encode_declare,
    encode_json,
    encode_segment_header,
)
from runstream.journal.reader import JournalReader

INT64 = st.integers(-(2**63), 2**63 - 1)
POINTS = st.lists(st.tuples(st.integers(0, 2**32 - 1), INT64, INT64, st.floats(allow_nan=True)), max_size=50)


@given(points=POINTS, number=st.integers(1, 2**63))
def test_columns_come_back_bit_by_bit(points: list[tuple[int, int, int, float]], number: int) -> None:
    series, step, time_us, value = zip(*points, strict=True) if points else ((), (), (), ())
    columns = (array("I", series), array("q", step), array("q", time_us), array("d", value))

    batch = decode_batch(encode_batch(number, 5, *columns))

    assert (batch.number, batch.point_count, batch.oldest_unix_us) == (number, len(points), 5)
    found = (batch.series_index, batch.step, batch.time_unix_us, batch.value)
    assert [bytes(column) for column in found] == [column.tobytes() for column in columns]
    assert batch_number(encode_batch(number, 5, *columns)) == (number, len(points))


def test_batches_that_are_too_long_or_uneven_are_refused() -> None:
    long = array("q", [0] * 1_001)
    with pytest.raises(ValueError, match="at most 1000"):
        encode_batch(1, 0, array("I", [0] * 1_001), long, long, array("d", [0.0] * 1_001))
    with pytest.raises(ValueError, match="equal"):
        encode_batch(1, 0, array("I"), array("q", [1]), array("q"), array("d"))


@pytest.mark.parametrize("payload", [b"", b"short", bytes(19), bytes(8) + b"\1\0\0\0" + bytes(8)])
def test_payloads_of_the_wrong_length_are_refused_as_batches(payload: bytes) -> None:
    with pytest.raises(ValueError, match="a batch of"):
        decode_batch(payload)


@given(keys=st.lists(st.text(st.characters(exclude_categories=["Cs"]))), first=st.integers(0, 10**6))
def test_declared_keys_come_back(keys: list[str], first: int) -> None:
    assert decode_declare(encode_declare(first, keys)) == dict(enumerate(keys, first))


@pytest.mark.parametrize("payload", [b"[]", b"{}", b'{"first_index":0}', b'{"first_index":0,"keys":[1]}', b"\xff"])
def test_payloads_that_declare_nothing_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected|decode"):
        decode_declare(payload)


def test_json_that_cannot_be_encoded_as_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode_json({"key": "\ud800"})
    with pytest.raises(ValueError, match="compliant"):
        encode_json({"key": float("nan")})
    with pytest.raises(ValueError, match="JSON object"):
        decode_json(b"[]")


def test_a_segment_header_comes_back() -> None:
    header = SegmentHeader("0123456789abcdef" * 2, 7, 1_000)
    data = encode_segment_header(header)

    assert len(data) == SEGMENT_HEADER_BYTES
    assert decode_segment_header(data, "x") == header
    assert decode_segment_header(data[:-1], "x") is None


def test_the_journal_imports_only_the_standard_library() -> None:
    program = (
        "import sys, types; package = types.ModuleType('runstream'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['runstream'] = package\n"
        "import runstream.journal, runstream.journal.check\n"
        "foreign = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(foreign - {'runstream', '__main__'}))"
    )
    path = JournalReader.__init__.__code__.co_filename.rpartition("/journal/")[0]

    printed = subprocess.run([sys.executable, "-S", "-c", program, path], capture_output=True, text=True, check=True)

    assert printed.stdout == "[]\n"
