"""Which latest point stands for a key: the newest attempt of the lowest rank."""

from __future__ import annotations

import numpy as np

from runstream_service.query.latest import LatestPoints
from runstream_service.query.mlflow_view.primary_series import primary_points


def points(*rows: tuple[int, int, int, int]) -> LatestPoints:
    """Rows of (run, key, rank, attempt); the value is the number of the row."""
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    count = len(rows)
    return LatestPoints(
        run_ids=["a", "b"],
        keys=["loss", "rate"],
        run_index=columns[0],
        key_index=columns[1],
        rank=columns[2],
        attempt=columns[3],
        step=np.zeros(count, np.int64),
        time_unix_us=np.zeros(count, np.int64),
        value=np.arange(count, dtype=np.float64),
    )


def values(*rows: tuple[int, int, int, int]) -> list[float]:
    found: list[float] = primary_points(points(*rows)).value.tolist()
    return found


def test_the_lowest_rank_stands_for_a_key() -> None:
    assert values((0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 2, 0)) == [0]


def test_what_came_over_http_stands_before_all_ranks() -> None:
    assert values((0, 0, -1, 0), (0, 0, 0, 0)) == [0]


def test_the_newest_attempt_of_the_lowest_rank_stands_for_a_key() -> None:
    assert values((0, 0, 1, 0), (0, 0, 1, 3), (0, 0, 2, 9)) == [1]


def test_each_key_of_each_run_has_a_point_of_its_own() -> None:
    rows = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 1), (1, 0, 3, 0), (1, 1, 3, 0), (1, 1, 4, 0)]
    assert values(*rows) == [1, 2, 3, 4]


def test_the_same_rank_in_two_keys_is_two_groups() -> None:
    assert values((0, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0)) == [0, 1, 2]


def test_nothing_stands_for_nothing() -> None:
    assert values() == []
