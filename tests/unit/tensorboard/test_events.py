"""Events of a file are read into points."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream.tensorboard.events import Contents, EventReader
from runstream.tensorboard.records import encode_record
from tests.support.event_files import (
    bytes_field,
    event,
    hparams_value,
    session_start,
    simple_value,
    summary,
    tensor_value,
    text_value,
)

FLOATS = st.floats(width=32)
STEPS = st.integers(-(2**63), 2**63 - 1)


def read(*events: bytes, max_points: int = 1 << 62) -> tuple[EventReader, Contents]:
    """Reads events as those of one file."""
    reader = EventReader()
    return reader, reader.read(b"".join(map(encode_record, events)), max_points)


def rows(reader: EventReader, contents: Contents) -> list[tuple[str, int, int, float]]:
    """Key, step, time and value of all points."""
    points = contents.points
    keys = [reader.keys[index] for index in points.key]
    return list(zip(keys, points.step, points.times_unix_us(), points.value, strict=True))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["loss", "lr", "throughput(tps)", "mfu(%)", "größe", ""]),
            STEPS,
            st.floats(0, 1e9),
            FLOATS,
            st.sampled_from(["simple", "tensor", "content"]),
        )
    )
)
def test_every_form_of_scalar_is_read_as_it_was_written(scalars: list[tuple[str, int, float, float, str]]) -> None:
    events = []
    for tag, step, time_s, value, form in scalars:
        written = (
            simple_value(tag, value) if form == "simple" else tensor_value(tag, value, as_content=form != "tensor")
        )
        events.append(event(time_s, step, summary(written)))
    found = rows(*read(*events))
    expected = [(tag, step, round(time_s * 1e6), value) for tag, step, time_s, value, _ in scalars]
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert all(abs(a[2] - b[2]) <= 1 for a, b in zip(found, expected, strict=True))
    packed = [struct.pack("<f", row[3]) for row in found]
    assert packed == [struct.pack("<f", row[3]) for row in expected]


def test_doubles_keep_all_their_digits() -> None:
    assert rows(*read(event(1.0, 1, summary(tensor_value("loss", 0.1, "double"))))) == [("loss", 1, 1_000_000, 0.1)]


def test_all_values_of_one_summary_are_read() -> None:
    found = rows(*read(event(2.0, 3, summary(simple_value("a", 1.0), simple_value("b", 2.0), tensor_value("c", 4.0)))))
    assert found == [("a", 3, 2_000_000, 1.0), ("b", 3, 2_000_000, 2.0), ("c", 3, 2_000_000, 4.0)]


@pytest.mark.parametrize("time_s", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_a_time_that_is_none_is_1970(time_s: float) -> None:
    assert rows(*read(event(time_s, 1, summary(simple_value("a", 1.0))))) == [("a", 1, 0, 1.0)]


def test_hyperparameters_and_texts_are_read() -> None:
    params: dict[str, float | str | bool] = {"lr": 0.1, "layers": 12, "name": "mlp", "bias": True}
    _, contents = read(
        event(1.0, 0, summary(hparams_value(params))), event(1.0, 0, summary(text_value("notes/text_summary", "good")))
    )
    assert contents.params == {"lr": "0.1", "layers": "12", "name": "mlp", "bias": "True"}
    assert contents.texts == {"notes": "good"}


def test_the_start_of_a_session_is_noted_with_its_step() -> None:
    _, contents = read(event(1.0, 70, session_start()), event(1.0, 70, summary(simple_value("a", 1.0))))
    assert contents.restarted_at == 70


def test_images_and_histograms_are_passed_over() -> None:
    image = bytes_field(1, b"image") + bytes_field(4, bytes(1000))
    histogram = bytes_field(1, b"weights") + bytes_field(5, bytes(100))
    reader, contents = read(event(1.0, 1, summary(image, histogram, simple_value("loss", 2.0))))
    assert rows(reader, contents) == [("loss", 1, 1_000_000, 2.0)]


def test_a_record_that_is_no_event_is_damage_and_the_next_one_is_read() -> None:
    good = event(1.0, 1, summary(simple_value("loss", 2.0)))
    reader, contents = read(good, b"\x0a\xff\xff", good)
    assert len(rows(reader, contents)) == 2
    assert len(contents.damage) == 1
    assert "not an Event" in contents.damage[0].what


@given(st.binary(max_size=80), st.booleans())
def test_no_data_of_a_record_raises(data: bytes, with_time: bool) -> None:
    read(event(1.0, 5, summary(simple_value("loss", 2.0))), (b"\x09" + bytes(8) if with_time else b"") + data)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=20), st.integers(1, 10))
def test_reading_in_pieces_is_reading_at_once(sizes: list[int], max_points: int) -> None:
    events = [
        event(1.0 + step, step, summary(*(simple_value(f"k{n}", n) for n in range(size))))
        for step, size in enumerate(sizes)
    ]
    data = b"".join(map(encode_record, events))
    at_once = rows(*read(*events))
    reader, pieces, at = EventReader(), [], 0
    while at < len(data):
        contents = reader.read(data[at:], max_points)
        pieces += rows(reader, contents)
        at += contents.end
    assert pieces == at_once
