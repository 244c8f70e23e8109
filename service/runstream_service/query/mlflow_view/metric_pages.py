"""Reads the rows of one run by time, a page at a time, and only the segments that may have rows of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runstream_service.query.charts.segment_arrays import CurveBuilder, read_arrays
from runstream_service.query.mlflow_view.metric_rows import NO_ROWS, MetricRows, Place, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.query.charts.curves import Sources
    from runstream_service.query.reading.read_transaction import Snapshot


async def read_page(
    snapshot: Snapshot, sources: Sequence[Sources], after: Place | None, limit: int | None
) -> MetricRows:
    """The rows after a place, or all rows, by (timestamp, step, value). If there are more than `limit`, at least one
    more than `limit` is returned, without gaps. The sources are on the time axis, from that place on."""
    builders = [CurveBuilder(one, None) for one in sources]
    if not builders:
        return NO_ROWS
    first = np.concatenate([one.first for one in sources])
    count = np.concatenate([one.point_count for one in sources])
    edges = np.cumsum([len(one.first) for one in sources])[:-1]
    by_time = np.argsort(first, kind="stable")
    total = np.cumsum(count[by_time])
    read, wanted = 0, len(first) if limit is None else limit + 1
    while True:
        end = len(first) if limit is None else min(len(first), int(np.searchsorted(total, wanted)) + 1)
        chosen = np.zeros(len(first), np.bool_)
        chosen[by_time[read:end]] = True
        for builder, its in zip(builders, np.split(chosen, edges), strict=True):
            builder.mixed = its
        await read_arrays(snapshot, builders)
        read = end
        rows = _rows(builders, after)
        if read == len(first):
            return rows
        # All rows before the first segment that was not read are complete.
        rows = rows.take(rows.timestamp_ms < first[by_time[read]] // 1_000)
        if limit is not None and len(rows) > limit:
            return rows
        # Too few rows: segments may overlap, and points may be equal, or before the page.
        wanted = 2 * int(total[read - 1])


def _rows(builders: Sequence[CurveBuilder], after: Place | None) -> MetricRows:
    parts = [builder.collected() for builder in builders]
    time, step, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    rows = rows_of(step, time, value).by_time()
    return rows if after is None else rows.after(after)
