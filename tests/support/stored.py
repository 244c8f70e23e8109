"""Puts points where a test wants them: into the segments that it describes, and into hot batches."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence

import numpy as np

from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.pool import Database
from runstream_service.segments.build import build_segments
from runstream_service.segments.encode import COLUMNS, encode
from runstream_service.segments.points import Points, in_order
from tests.support.hot import put_hot

Point = tuple[int, int, float]  # step, microseconds since 1970, value

SEGMENTS_EPOCH, HOT_EPOCH = 1, 2


async def prepare(database: Database) -> None:
    """Prepares an empty database: epoch 1 is in segments, epoch 2 is hot."""
    await database.execute(f"SELECT create_hot_partition({HOT_EPOCH})")
    await database.execute("UPDATE epochs SET state = 'visible'")
    await database.execute(f"INSERT INTO epochs (epoch, state) VALUES ({HOT_EPOCH}, 'open')")
    await database.execute(f"UPDATE watermark SET visible_epoch = {SEGMENTS_EPOCH}")


async def make_run(database: Database) -> str:
    """Makes a run of the default experiment; returns its id."""
    run_id = uuid.uuid4()
    await database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 0, 'r', now())", run_id
    )
    return run_id.hex


async def put(
    database: Database,
    run_id: str,
    key: str,
    *,
    segments: Sequence[Sequence[Point]] = (),
    hot: Sequence[Point] = (),
    rank: int = 0,
    attempt: int = 0,
) -> int:
    """Each list of `segments` becomes one segment; returns the series' id."""
    series_id: int = await database.fetchval(
        "SELECT series_id FROM resolve_series($1, $2, $3, $4, 1000000)", uuid.UUID(run_id), rank, attempt, [key]
    )
    async with database.acquire() as connection:
        for points in segments:
            if points:
                encoded = encode(build_segments(in_order(_columns(series_id, points))), SEGMENTS_EPOCH)
                data = io.BytesIO(b"".join(encoded.chunks()))
                await connection.copy_to_table("metric_segments", source=data, columns=COLUMNS, format="binary")
        if hot:
            await put_hot(connection, _columns(series_id, hot), epoch=HOT_EPOCH)
    return series_id


def _columns(series_id: int, points: Sequence[Point]) -> Points:
    return Points(
        np.full(len(points), series_id, np.int64),
        np.array([point[0] for point in points], np.int64),
        np.array([point[1] - EPOCH_2000_UNIX_US for point in points], np.int64),
        np.array([point[2] for point in points], np.float64),
    )
