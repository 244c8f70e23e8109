"""Tables of the commands in terminals of any width."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from runstream.commands.failures import _in_lines
from runstream.commands.output import Column, fitted, table

COLUMNS = (
    Column("run_id", is_whole=True),
    Column("name"),
    Column("status", is_whole=True),
    Column("latest", is_number=True),
    Column("note", wraps=True),
)
ROW = (
    "c0ffee00",
    "a name of a run that somebody has made far too long 数字认识" * 2,
    "FINISHED",
    "1.236e+04",
    "x" * 60,
)


def lines_of(monkeypatch: pytest.MonkeyPatch, width: int, *rows: tuple[str, ...]) -> list[str]:
    monkeypatch.setattr("runstream.commands.output.console", lambda: Console(width=width))
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table(COLUMNS, rows))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_texts_are_cut_and_ids_states_and_numbers_stay_whole(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = lines_of(monkeypatch, width, ROW)
    assert max(map(cell_len, lines)) <= width
    assert lines[2].startswith("c0ffee00  a name")
    assert "…  FINISHED  1.236e+04  xxx" in lines[2]
    assert sum(line.count("x") for line in lines) == 60  # what wraps is all there


def test_columns_that_have_no_room_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(monkeypatch, 34, ROW)
    assert lines[0].split() == ["run_id", "name", "status"]
    assert " ".join(" ".join(lines).split()).endswith("no room for latest, note: widen the terminal, or use --json")


def test_a_value_cannot_move_the_cursor_and_is_on_one_line_unless_it_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(monkeypatch, 120, ("id", "a\x1b[2Jb\nc", "s", "1", "first\nsecond\x07"))
    assert "a\ufffd[2Jb c" in lines[2]
    assert [line.split()[-1] for line in lines[2:]] == ["first", "second\ufffd"]


@given(st.lists(st.integers(1, 200), min_size=5, max_size=5), st.integers(1, 300))
def test_a_table_is_never_wider_than_the_terminal(widths: list[int], room: int) -> None:
    found = fitted(COLUMNS, widths, room)
    assert 1 <= len(found) <= 5
    assert sum(found) + 2 * (len(found) - 1) <= room
    assert all(width <= before for width, before in zip(found, widths, strict=False))
    if len(found) > 1:
        assert [found[at] for at in (0, 2, 3) if at < len(found)] == [widths[at] for at in (0, 2, 3) if at < len(found)]


def test_a_long_error_is_broken_between_words_in_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "runstream: " + "words " * 30 + "http://tracker:5000/" + "r" * 100
    assert _in_lines(message) == message
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((80, 24)))
    lines = _in_lines(message + "\n  second line").split("\n")
    assert max(map(len, lines[:2])) <= 80
    assert " ".join(lines[:-1]) == message
    assert lines[-1] == "  second line"
