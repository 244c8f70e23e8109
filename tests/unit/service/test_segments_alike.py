"""Segments of one form are decoded together, with the same result as one by one."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import pytest

from runstream_service.database.copy_rows import HEADER, TRAILER
from runstream_service.segments import decode
from runstream_service.segments.decode import IRREGULAR, Segment, SegmentStream

VALUES = (1.5, -0.0, math.nan, math.inf)
# How many points, whether steps are regular, which column has the times, whether values are single precision.
Form = tuple[int, bool, int, bool]


def a_form(rng: random.Random) -> Form:
    return rng.choice([1, 2, 50]), rng.random() < 0.5, rng.randrange(3), rng.random() < 0.5


def array(kind: str, element_type: int, elements: list[Any] | None) -> bytes:
    if elements is None:
        return b"\xff\xff\xff\xff"
    width = struct.calcsize(f">{kind}")
    body = b"".join(struct.pack(f">i{kind}", width, element) for element in elements)
    return struct.pack(">iiiiii", 20 + len(body), 1, 0, element_type, len(elements), 1) + body


def a_row(rng: random.Random, form: Form) -> bytes:
    count, regular, times, single = form
    stride = rng.choice([0, 1, 5, 2**62]) if regular else IRREGULAR
    row = struct.pack(
        ">hi6siqiqiqiiiqiq",
        *(13, 6, rng.randbytes(6), 8, rng.randrange(100), 8, rng.randrange(-(2**62), 2**62), 8, rng.randrange(2**40)),
        *(4, count, 8, stride, 8, rng.randrange(10**6)),
    )

    def numbers(bits: int, *, there: bool) -> list[int] | None:
        return [rng.randrange(-(2**bits), 2**bits) for _ in range(count)] if there else None

    def values(*, there: bool) -> list[float] | None:
        return [rng.choice(VALUES) for _ in range(count)] if there else None

    return b"".join(
        (
            row,
            array("q", 20, numbers(63, there=not regular)),
            array("h", 21, numbers(15, there=times == 0)),
            array("i", 23, numbers(31, there=times == 1)),
            array("q", 1184, numbers(50, there=times == 2)),
            array("f", 700, values(there=single)),
            array("d", 701, values(there=not single)),
        )
    )


def comparable(segments: list[Segment]) -> list[tuple[Any, ...]]:
    return [
        (
            *(one.owner, one.ctid, one.first_step, one.min_time_unix_us, one.value.tobytes()),
            *(None if column is None else column.tolist() for column in (one.step, one.time_unix_us)),
        )
        for one in segments
    ]


@pytest.mark.parametrize("seed", range(30))
def test_segments_decoded_all_at_once_are_those_decoded_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    form, rows = a_form(rng), []
    for _ in range(rng.randrange(60)):
        form = a_form(rng) if rng.random() < 0.15 else form
        rows.append(a_row(rng, form))
    data = b"".join((HEADER, *rows, TRAILER))
    asked = {"steps": rng.random() < 0.7, "times": rng.random() < 0.7}

    def decoded(portion_bytes: int) -> list[tuple[Any, ...]]:
        stream = SegmentStream(**asked)
        found = [one for at in range(0, len(data), portion_bytes) for one in stream.feed(data[at : at + portion_bytes])]
        stream.finish()
        return comparable(found)

    all_at_once, in_portions = decoded(len(data)), decoded(rng.randrange(1, 4_000))
    monkeypatch.setattr(decode, "_ENOUGH", 10**9)
    assert all_at_once == in_portions == decoded(len(data))
    assert len(all_at_once) == len(rows)
