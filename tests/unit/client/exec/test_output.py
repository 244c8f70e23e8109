"""What is kept of a program's output, and what reaches its reader."""

from __future__ import annotations

import os

import pytest

from runstream.exec.output import MAX_CHARACTERS, LastLines, Pump


@pytest.mark.parametrize(
    ("written", "text"),
    [
        pytest.param(b"epoch 1\nepoch 2\n", "epoch 1\nepoch 2", id="lines"),
        pytest.param(b"epoch 1\nepoch", "epoch 1\nepoch", id="a line that has begun"),
        pytest.param(b"10 %\r50 %\r100 %\nend\n", "100 %\nend", id="a progress bar"),
        pytest.param(b"10 %\r50 %\r", "50 %", id="a progress bar that has not ended"),
        pytest.param(b"one\r\ntwo\r\n", "one\ntwo", id="lines of a terminal"),
        pytest.param(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07text", "red text", id="colours and titles"),
        pytest.param(b"a\0b\x07c\ttab", "abc\ttab", id="control characters"),
        pytest.param("ä".encode()[:1] + b"x", "�x", id="no UTF-8"),
        pytest.param(b"\n\n", "", id="nothing to read"),
    ],
)
def test_the_last_lines_are_as_a_person_reads_them(written: bytes, text: str) -> None:
    for size in (1, 3, len(written)):
        lines = LastLines()
        for start in range(0, len(written), size):
            lines.add(1, written[start : start + size])
        assert lines.text() == text


def test_lines_of_two_streams_do_not_mix() -> None:
    lines = LastLines()
    lines.add(1, b"step ")
    lines.add(2, b"warning\n")
    lines.add(1, b"7\n")
    assert lines.text() == "warning\nstep 7"


def test_whole_lines_are_kept_up_to_the_limit_of_a_tag() -> None:
    lines = LastLines()
    for number in range(100_000):
        lines.add(1, b"line %d\n" % number)
    kept = lines.text().split("\n")
    assert len(lines.text()) <= MAX_CHARACTERS
    assert kept == [f"line {number}" for number in range(100_000 - len(kept), 100_000)]
    assert len(lines._whole) < 1_000_000


def test_of_a_line_that_is_longer_than_a_tag_the_end_is_kept() -> None:
    lines = LastLines()
    lines.add(1, b"x" * 10_000_000 + b"end")
    assert lines.text() == "x" * (MAX_CHARACTERS - 3) + "end"


def test_a_program_that_was_left_behind_and_goes_on_writing_does_not_hold_up_the_end() -> None:
    read_end, target = os.pipe()
    os.close(read_end)  # nobody reads the output any more, and the program may notice
    pump = Pump(target, LastLines())
    left_behind = os.dup(pump.write_end)
    pump.start()
    pump.finish()
    os.close(left_behind)
    os.close(target)
