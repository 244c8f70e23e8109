"""The yardstick: COPY BINARY of the same points, a row each, by one connection, encoded before the clock. The table has
what such a table needs at least: its columns, and a BRIN index on the series."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from runstream_bench.load import Load, batch_message
from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US, RowFormat, pieces
from runstream_service.ingest.decode import Batches, Float64Column, Int64Column, decode

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection

# Rows a transaction. Larger ones were not faster, smaller ones pay more for fsync (20,000: 0.6 of this).
_ROWS_PER_COPY = 100_000
# Encoded ahead, or as many as a short round may need; then the same rows come again.
_ROWS_AHEAD, _MOST_ROWS_PER_S = 1_000_000, 2_000_000

_COLUMNS = ("epoch", "commit_no", "series_id", "step", "time", "value")
_ROW_FORMAT = RowFormat(list(zip(_COLUMNS, (">i4", ">i4", ">i8", ">i8", ">i8", ">f8"), strict=True)))

_TABLE = """
DROP TABLE IF EXISTS raw_copy;
CREATE TABLE raw_copy (
    epoch int NOT NULL, commit_no int NOT NULL, series_id bigint NOT NULL,
    step bigint NOT NULL, time timestamptz NOT NULL, value double precision NOT NULL
) PARTITION BY LIST (epoch);
CREATE INDEX ON raw_copy USING brin (series_id) WITH (pages_per_range = 8);
CREATE TABLE raw_copy_1 PARTITION OF raw_copy FOR VALUES IN (1) WITH (autovacuum_enabled = false);
"""


async def raw_copy(connection: Connection, load: Load, seconds: float) -> float:
    """Points per second of COPY alone, for `seconds`."""
    buffers = _encoded(load, min(_ROWS_AHEAD, round(seconds * _MOST_ROWS_PER_S)))
    await connection.execute(_TABLE)
    rows, position = 0, 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        await connection.copy_to_table(
            "raw_copy_1",
            source=pieces(buffers[position % len(buffers)]),
            columns=_COLUMNS,
            format="binary",
        )
        position += 1
        rows += _ROWS_PER_COPY
    elapsed = time.perf_counter() - started
    await connection.execute("DROP TABLE raw_copy")
    return rows / elapsed


def _encoded(load: Load, rows: int) -> list[memoryview]:
    """The rows that the streams of `load` send, batch by batch in turn, in groups of _ROWS_PER_COPY; at least one."""
    groups = []
    batches_per_group = _ROWS_PER_COPY // load.batch_points
    for group in range(max(1, rows // _ROWS_PER_COPY)):
        columns = [_columns(load, group * batches_per_group + number) for number in range(batches_per_group)]
        joined = [np.concatenate(column) for column in zip(*columns, strict=True)]
        groups.append(_rows(group, *joined))
    return groups


def _rows(
    commit_no: int, series_id: Int64Column, step: Int64Column, time_unix_us: Int64Column, value: Float64Column
) -> memoryview:
    """A transaction, sorted by series, as roll-up and reads of such a table would need it."""
    order = np.argsort(series_id, kind="stable")
    count = len(order)
    columns = {
        "epoch": np.ones(count, np.int64),
        "commit_no": np.full(count, commit_no),
        "series_id": series_id[order],
        "step": step[order],
        "time": time_unix_us[order] - EPOCH_2000_UNIX_US,
        "value": value[order],
    }
    return memoryview(_ROW_FORMAT.copy(columns))


def _columns(load: Load, number: int) -> tuple[Int64Column, Int64Column, Int64Column, Float64Column]:
    producers = load.streams * load.producers
    producer, position = number % producers, number // producers
    message = decode(batch_message(load.batch_points, load.keys, position))
    assert isinstance(message, Batches)
    (batch,) = message.batches
    return batch.series_index.astype(np.int64) + producer * load.keys, batch.step, batch.time_unix_us, batch.value
