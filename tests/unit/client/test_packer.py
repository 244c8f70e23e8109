"""Packing: rows become columns with exactly what was logged."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream._buffer import Buffer, Marker
from runstream._columns import Columns, SeriesTable, key_error
from runstream._packer import Packer
from runstream._run_logger import RunLogger
from tests.support.examples import examples

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
VALUES = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
NAMES = ["loss", "acc", "grad/norm", "ünïcode", "x" * 250]
KEYS = st.sampled_from(NAMES)
# Most rows of a training loop have the same keys, and floats: those are packed in another way.
ROWS = st.dictionaries(KEYS, VALUES | st.integers(-9, 9), max_size=5) | st.fixed_dictionaries(
    dict.fromkeys(NAMES, VALUES)
)


class Packed:
    """A packer, its buffer, and the batches and markers that it has passed on."""

    def __init__(self, batch_points: int = 1_000) -> None:
        logger = RunLogger("0" * 32, "test:1", 1_000_000)
        self.buffer = Buffer(1_000_000, 64_000_000, logger, lambda _: None, lambda: None)
        self.series = SeriesTable()
        self.sealed: list[Columns | Marker] = []
        self.packer = Packer(self.buffer, self.series, logger, batch_points, self.sealed.append, self.sealed.append)

    @property
    def batches(self) -> list[Columns]:
        return [one for one in self.sealed if isinstance(one, Columns)]


def bits(value: float) -> object:
    return "nan" if math.isnan(value) else struct.pack("<d", value)


@given(
    calls=st.lists(st.tuples(ROWS, INT64, TIMES), max_size=60),
    batch_points=st.integers(1, 40),
)
@settings(max_examples=examples(100), deadline=None)
def test_the_columns_have_what_was_logged(calls: list[tuple[dict[str, float], int, int]], batch_points: int) -> None:
    packed = Packed(batch_points)
    for metrics, step, time_us in calls:
        packed.buffer.put(metrics, step, time_us)
    packed.buffer.put_marker(marker := Marker())
    packed.packer.drain()
    assert packed.sealed[-1] is marker
    found = []
    for batch in packed.batches:
        assert 0 < len(batch) <= batch_points
        rows = zip(batch.series, batch.steps, batch.times, batch.values, strict=True)
        found += [(packed.series.keys(index, 1)[0], step, time_us, bits(value)) for index, step, time_us, value in rows]
    expected = [(key, step, time_us, bits(value)) for metrics, step, time_us in calls for key, value in metrics.items()]
    assert found == expected
    key_bytes = sum(300 + len(key) for key in {key for metrics, _, _ in calls for key in metrics})
    assert packed.buffer.counters() == (len(expected), key_bytes + 28 * len(expected), 0, 0, {})


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
def test_a_bad_key_is_refused_with_its_reason_and_the_rest_of_the_row_goes_on(key: str, reason: str) -> None:
    packed = Packed()
    packed.buffer.put({key: 1.0, "good": 2.0}, 0, None)
    packed.packer.drain()
    packed.packer.seal()
    assert packed.buffer.refused == {reason: 1}
    assert [len(batch) for batch in packed.batches] == [1]


@pytest.mark.parametrize("key", ["k" * 250, "'; DROP TABLE x; --", "a/b c", "漢字", "\u200b", "\u2028"])
def test_an_unusual_key_is_accepted(key: str) -> None:
    assert key_error(key) is None


def test_more_keys_than_a_run_may_have_are_refused_without_being_kept() -> None:
    packed = Packed()
    packed.series.max_series = 3
    for n in range(10):
        packed.buffer.put({f"key{n}": 1.0}, 0, None)
    packed.packer.drain()
    assert packed.buffer.refused == {"too_many_series": 7}
    assert len(packed.series) == 3
