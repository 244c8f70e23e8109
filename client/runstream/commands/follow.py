"""`runstream tail`: prints points as they arrive."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

import runstream

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def follow(client: runstream.Client, run_id: str, keys: Sequence[str], rank: int | None, *, as_json: bool) -> None:
    """Prints until interrupted. Raises RunstreamError for a failure that retries do not cure."""
    line = _json_line if as_json else _text_line
    replayed = False
    for update in client.tail(run_id, keys or None, rank=rank):
        if update.replayed and not replayed:
            # Happens only after minutes without a connection, or when another database server took over.
            sys.stderr.write("runstream: some points came while the service was out of reach; continuing from now\n")
        replayed = update.replayed
        if not replayed:
            for series in update.series:
                sys.stdout.writelines(line(series.key, point) for point in _points(series))
            sys.stdout.flush()


def _points(series: runstream.SeriesColumns) -> Iterator[runstream.Point]:
    for step, time_us, value in zip(series.steps, series.times_unix_us, series.values, strict=True):
        yield runstream.Point(step, time_us, value, series.rank, series.attempt)


def _text_line(key: str, point: runstream.Point) -> str:
    time = (_EPOCH + timedelta(microseconds=point.time_unix_us)).isoformat(timespec="milliseconds")
    attempt = f" attempt={point.attempt}" if point.attempt else ""
    return f"{time.replace('+00:00', 'Z')} {key} rank={point.rank}{attempt} step={point.step} {point.value!r}\n"


def _json_line(key: str, point: runstream.Point) -> str:
    """JSON has no NaN and no infinities: they are texts, as in protobuf's JSON."""
    finite = math.isfinite(point.value)
    word = "NaN" if math.isnan(point.value) else "Infinity" if point.value > 0 else "-Infinity"
    record = {
        "key": key,
        "rank": point.rank,
        "attempt": point.attempt,
        "step": point.step,
        "time_unix_us": point.time_unix_us,
        "value": point.value if finite else word,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
