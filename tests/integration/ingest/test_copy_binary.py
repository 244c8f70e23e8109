"""Rows encoded by us are rows as PostgreSQL reads and prints them."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_service.ingest import copy_binary
from runstream_service.ingest.limits import MAX_TIME_UNIX_US, MIN_TIME_UNIX_US

int64 = st.integers(-(2**63), 2**63 - 1)
value = st.one_of(
    st.floats(width=64),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]),
)
rows = st.lists(st.tuples(int64, int64, st.integers(MIN_TIME_UNIX_US, MAX_TIME_UNIX_US), value), max_size=40)


def _encode(points, epoch=1, commit_no=1):
    columns = zip(*points, strict=True) if points else ((), (), (), ())
    series, step, time, values = columns
    return copy_binary.encode(
        epoch,
        commit_no,
        np.array(series, np.int64),
        np.array(step, np.int64),
        np.array(time, np.int64),
        np.array(values, np.float64),
    )


def _as_postgres_prints(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return struct.pack(">d", number).hex()


async def _round_trip(connection, points):
    await connection.execute("TRUNCATE metric_points_hot")
    await connection.copy_to_table(
        "metric_points_hot_1", source=copy_binary.chunks(_encode(points)), columns=copy_binary.COLUMNS, format="binary"
    )
    return await connection.fetch(
        """
        SELECT series_id::text, step::text, (extract(epoch FROM time) * 1000000)::numeric(30, 0)::text AS time,
               CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN value::text
                    ELSE encode(float8send(value::text::float8), 'hex') END AS value
          FROM metric_points_hot
        """
    )


def test_what_is_encoded_is_what_postgres_prints(postgres_loop):
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows)
    def check(points):
        read = postgres_loop(lambda connection: _round_trip(connection, points))
        expected = [(str(s), str(p), str(t), _as_postgres_prints(v)) for s, p, t, v in points]
        assert sorted(tuple(row) for row in read) == sorted(expected)

    check()


async def test_rows_are_sorted_by_series_and_keep_their_order_within_one(database):
    points = [(series, position, 0, 0.0) for position, series in enumerate([5, 3, 5, 2**40, 3, 5])]
    async with database.acquire() as connection:
        read = await _round_trip(connection, points)
    assert [(int(r["series_id"]), int(r["step"])) for r in read] == [
        (3, 1), (3, 4), (5, 0), (5, 2), (5, 5), (2**40, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 3971, 3972, 3973, 10_000])
async def test_the_edges_of_chunks_lose_nothing(database, count):
    points = [(1, position, position, float(position)) for position in range(count)]
    async with database.acquire() as connection:
        read = await _round_trip(connection, points)
    assert sorted(int(row["step"]) for row in read) == list(range(count))


@pytest.fixture
def postgres_loop(database_url):
    """Runs coroutines on one connection from a test that is not async, as hypothesis needs it."""
    import asyncio

    import asyncpg

    with asyncio.Runner() if hasattr(asyncio, "Runner") else _OldRunner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        yield lambda make: runner.run(make(connection))
        runner.run(connection.close())


class _OldRunner:
    """asyncio.Runner for Python 3.10."""

    def __enter__(self):
        import asyncio

        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(self, *_):
        self._loop.close()

    def run(self, coroutine):
        return self._loop.run_until_complete(coroutine)
