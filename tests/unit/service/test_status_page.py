"""The page of `runstream status` points out what is unusual."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from rich.console import Console

from runstream_service.status.collect import (
    DatabaseStatus,
    Disk,
    EpochStatus,
    ProducerStatus,
    ReplicaStatus,
    SilentProducer,
    Status,
)
from runstream_service.status.render import _size, _span, render

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
STATUS = Status(
    at=NOW,
    database=DatabaseStatus("18.4", 1.25, "", 6, 6, 15, 100),
    replicas=[ReplicaStatus("pod-[a]", 1, "0.1.0", NOW - timedelta(hours=2, minutes=5, seconds=9), 7)],
    points_last_minute=6_000_000,
    rollup_lag_points=0,
    rollup_lag_s=0.0,
    epoch=EpochStatus(12, NOW - timedelta(seconds=30), 5_000, 10, 9),
    points_stored=3_000_000_000,
    points_exact=False,
    database_bytes=20_100_000_000,
    hot_bytes=0,
    segments_bytes=19_999_999_999,
    disk=Disk(10**12, 5 * 10**11),
    producers=ProducerStatus(0, 0, 0, None),
    unread={},
)


def page(status: Status, width: int = 120) -> str:
    out = io.StringIO()
    render(status, Console(file=out, width=width))
    return out.getvalue()


def test_the_page_says_what_the_status_has() -> None:
    text = page(STATUS)
    for part in (
        "pod-[a]:1", "2 h 5 min", "100,000 points/s", "nothing waits", "12 is open for 30 s with 5,000 points",
        "visible to 10, dropped to 9", "about 3,000,000,000 points", "20.1 GB: segments 20.0 GB, hot batches 0 B",
        "500 GB of 1.0 TB free", "0 ranks of 0 running runs",
        "schema 6; 15 of 100 connections; synchronous standbys: none",
    ):  # fmt: skip
        assert part in text, text
    assert "silent longest" not in text


def test_the_page_fits_into_80_columns() -> None:
    silent = SilentProducer("0" * 32, "n" * 90, "e" * 90, 1, 0, 90_061.0, None, NOW - timedelta(days=2))
    text = page(replace(STATUS, producers=ProducerStatus(1, 1, 0, silent)), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "1 d 1 h, stream opened 2 d ago" in " ".join(text.split())


def test_what_is_wrong_is_said() -> None:
    assert STATUS.database is not None
    database = replace(STATUS.database, synchronous_standby_names="ANY 1 (*)", schema_version=5)
    text = page(replace(STATUS, replicas=[], database=database, rollup_lag_points=7, rollup_lag_s=61.0))
    for part in (
        "no replica of the service is connected", "standbys: ANY 1 (*)", "schema 5 (this runstream has 6)",
        "7 points wait, the oldest for 1 min 1 s",
    ):  # fmt: skip
        assert part in text, text


def test_what_could_not_be_read_is_reported_and_the_rest_is_shown() -> None:
    text = page(replace(STATUS, points_stored=None, producers=None, unread={"stored": "no [right]", "producers": "x"}))
    for part in ("stored     could not be read: no [right]", "producers  could not be read: x", "nothing waits"):
        assert part in text, text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (3_601, "1 h"), (90_000, "1 d 1 h"), (86_405, "1 d")],
)
def test_a_span_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert _span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (123_456, "123 kB"), (5 * 10**15, "5,000 TB")]
)
def test_a_size_has_about_three_digits(size: int, text: str) -> None:
    assert _size(size) == text
