"""Cursors of Tail: what a snapshot sees, and how it advances by portions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_service.errors.core import InvalidField
from runstream_service.query.tail.cursor import Cursor, Snapshot


@st.composite
def histories(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """Two snapshots of one database, the earlier first."""
    ends = draw(st.lists(st.integers(0, 30), min_size=1, max_size=25))  # when transaction 1, 2, .. ends
    begins = sorted(draw(st.lists(st.integers(0, 20), min_size=len(ends), max_size=len(ends))))
    early = draw(st.integers(0, 20))
    late = draw(st.integers(early, 31))

    def at(time: int) -> Snapshot:
        begun = [xid for xid, begin in enumerate(begins, start=1) if begin <= time]
        running = tuple(xid for xid in begun if max(ends[xid - 1], begins[xid - 1]) > time)
        xmax = len(begun) + 1
        return Snapshot(running[0] if running else xmax, xmax, running)

    return at(early), at(late)


@given(histories(), st.integers(0, 30))
def test_an_advanced_snapshot_sees_the_later_one_up_to_an_xid_and_the_earlier_one_beyond(
    history: tuple[Snapshot, Snapshot], through: int
) -> None:
    early, late = history
    advanced = early.advanced(late, through)
    assert Snapshot.parse(str(advanced)) == advanced
    for xid in range(1, 40):
        assert advanced.sees(xid) == (late.sees(xid) if xid <= through else early.sees(xid)), xid


@given(histories())
def test_age_orders_snapshots_by_time(history: tuple[Snapshot, Snapshot]) -> None:
    early, late = history
    assert early.age <= late.age
    assert all(late.sees(xid) for xid in range(1, 40) if early.sees(xid))


@given(histories(), st.integers(0, 2**31 - 1), st.none() | st.tuples(st.integers(1, 2**63), st.integers(0, 2**62)))
def test_cursors_come_back_as_they_were(
    history: tuple[Snapshot, Snapshot], epoch: int, partly_sent: tuple[int, int] | None
) -> None:
    cursor = Cursor("0123456789abcdef", history[0], epoch, partly_sent)
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.sampled_from([b"", b"1;", b"1;1;;", b"2;", b"2;0123456789abcdef;1;;"]), st.binary(max_size=40))
def test_other_bytes_are_refused(prefix: bytes, data: bytes) -> None:
    with contextlib.suppress(InvalidField):
        assert Cursor.decode(prefix + data).encode() != b""


@pytest.mark.parametrize("text", ["0:0:", "5:4:", "5:9:4", "5:9:9", "5:9:7,6", "5:9:7,7", "1:9223372036854775808:"])
def test_what_postgresql_would_not_say_is_no_snapshot(text: str) -> None:
    with pytest.raises(ValueError, match="is not a snapshot"):
        Snapshot.parse(text)


def test_a_cursor_of_an_earlier_release_is_of_no_lineage() -> None:
    cursor = Cursor.decode(b"1;7;5,3;4:9:5")
    assert (cursor.snapshot, cursor.epoch, cursor.partly_sent) == (Snapshot(4, 9, (5,)), 7, (5, 3))
    assert cursor.lineage == "0" * 16
