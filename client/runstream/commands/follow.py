"""`runstream tail`: prints points as they arrive."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import runstream
from runstream.commands.output import to_json, utc


def follow(client: runstream.Client, run_id: str, keys: Sequence[str], rank: int | None, *, as_json: bool) -> None:
    """Prints until interrupted. Raises RunstreamError for a failure that retries do not cure."""
    line = _json_line if as_json else _text_line
    replayed = False
    for update in client.tail(run_id, keys or None, rank=rank):
        if update.replayed and not replayed:
            # Happens only after minutes without a connection, or when another database server took over.
            sys.stderr.write("runstream: points that came while the service was out of reach are not shown\n")
        replayed = update.replayed
        if not replayed:
            for series in update.series:
                sys.stdout.writelines(line(series.key, point) for point in _points(series))
            sys.stdout.flush()


def _points(series: runstream.SeriesColumns) -> Iterator[runstream.Point]:
    for step, time_us, value in zip(series.steps, series.times_unix_us, series.values, strict=True):
        yield runstream.Point(step, time_us, value, series.rank, series.attempt)


def _text_line(key: str, point: runstream.Point) -> str:
    attempt = f" attempt={point.attempt}" if point.attempt else ""
    return f"{utc(point.time_unix_us)} {key} rank={point.rank}{attempt} step={point.step} {point.value!r}\n"


def _json_line(key: str, point: runstream.Point) -> str:
    record = {
        "key": key,
        "rank": point.rank,
        "attempt": point.attempt,
        "step": point.step,
        "time_unix_us": point.time_unix_us,
        "value": point.value,
    }
    return to_json(record) + "\n"
