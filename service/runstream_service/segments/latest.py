"""The latest point of each series: the greatest (step, time, value), where NaN compares as 0."""

from __future__ import annotations

import numpy as np

from runstream_service.segments.points import Points, series_starts


def latest(points: Points) -> Points:
    """One point per series, of points that are in order."""
    if len(points) == 0:
        return points
    ends = np.append(series_starts(points)[1:], len(points))
    chosen = ends - 1
    # Points with the same series, step and time are adjacent; if the last such group has several, the value decides.
    same = (
        (points.series_id[1:] == points.series_id[:-1])
        & (points.step[1:] == points.step[:-1])
        & (points.time[1:] == points.time[:-1])
    )
    groups = np.flatnonzero(np.concatenate([[True], ~same]))
    starts = groups[np.searchsorted(groups, chosen, side="right") - 1]
    for i in np.flatnonzero(starts < chosen).tolist():
        values = points.value[starts[i] : ends[i]]
        chosen[i] = starts[i] + np.argmax(np.where(np.isnan(values), 0.0, values))
    return points.take(chosen)
