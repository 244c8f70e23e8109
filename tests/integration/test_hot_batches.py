"""Points in hot batches: what is encoded comes back bit for bit, by our decoder and by PostgreSQL's function."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import struct
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.pool import Connection, Database
from runstream_service.ingest.limits import MAX_TIME_UNIX_US, MIN_TIME_UNIX_US
from runstream_service.stores.hot_batches import (
    COLUMNS,
    MAX_ROW_POINTS,
    READ,
    BatchPoints,
    BatchStream,
    EncodedBatches,
    HotPoints,
)
from runstream_service.stores.hot_store import HotStore
from tests.support.examples import examples

Point = tuple[int, int, int, float]  # series_id, step, microseconds since 1970, value
Stored = tuple[int, int, int, int, bytes]  # commit_no, then as above, with the bits of the value

COMMIT_NO = 7
LARGEST = 2**63 - 1
RNG = random.Random(1)


@dataclass(frozen=True)
class Batch:
    """Points of one rank of a run."""

    points: list[Point]
    run: int = 1
    rank: int = 0

    def columns(self) -> BatchPoints:
        series, step, time, value = zip(*self.points, strict=True) if self.points else ((), (), (), ())
        return BatchPoints(
            UUID(int=self.run),
            self.rank,
            np.array(series, np.int64),
            np.array(step, np.int64),
            np.array(time, np.int64),
            np.array(value, np.float64),
        )

    def stored(self) -> list[Stored]:
        return [(COMMIT_NO, *numbers, struct.pack(">d", value)) for *numbers, value in self.points]  # type: ignore[misc]


def encoded(batches: Sequence[Batch]) -> EncodedBatches:
    return EncodedBatches([batch.columns() for batch in batches])


# What there may be ----------------------------------------------------------------------------------------------------

VALUE = st.one_of(
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, -5e-324]),
    st.sampled_from([2.2250738585072009e-308, 2.2250738585072014e-308, 1.7976931348623157e308]),
    st.binary(min_size=8, max_size=8).map(lambda bits: float(struct.unpack(">d", bits)[0])),  # every kind of NaN
)
SERIES = st.integers(1, LARGEST) | st.sampled_from([1, 2, LARGEST])
STEP = st.integers(-(2**63), LARGEST) | st.sampled_from([0, -1, -(2**63), LARGEST])
TIME = st.integers(MIN_TIME_UNIX_US, MAX_TIME_UNIX_US) | st.sampled_from([MIN_TIME_UNIX_US, MAX_TIME_UNIX_US, 0])
ENDS = (LARGEST, LARGEST, MAX_TIME_UNIX_US)
FAR_APART = st.lists(st.tuples(SERIES, STEP, TIME, VALUE), max_size=20)


def difference(bits: int) -> st.SearchStrategy[int]:
    """Small ones, and those around the largest that a row of differences takes."""
    return st.integers(0, 3) | st.sampled_from([2**bits - 2, 2**bits - 1, 2**bits])


@st.composite
def close_together(draw: st.DrawFn) -> list[Point]:
    """Points that mostly fit into a row of differences, or only just do not."""
    first = draw(st.tuples(SERIES, STEP, TIME))
    points = draw(st.lists(st.tuples(difference(16), difference(16), difference(32), VALUE), min_size=1, max_size=20))
    return [
        (*(min(sum(pair), end) for *pair, end in zip(first, point[:3], ENDS, strict=True)), point[3])  # type: ignore[misc]
        for point in points
    ]


@st.composite
def some_batches(draw: st.DrawFn) -> list[Batch]:
    """Of differences and of whole numbers, empty ones, and ones that take several rows."""
    batches = []
    for _ in range(draw(st.integers(1, 5))):
        points = draw(FAR_APART | close_together())
        # Repeated, since hypothesis makes no long lists.
        count = draw(st.sampled_from([len(points), len(points), MAX_ROW_POINTS, MAX_ROW_POINTS + 1, 600]))
        points = list(itertools.islice(itertools.cycle(points), count))
        batches.append(Batch(points, draw(st.integers(0, 2**128 - 1)), draw(st.integers(-1, 2**31 - 1))))
    return batches


# Into PostgreSQL and out of it ----------------------------------------------------------------------------------------


async def store(connection: Connection, batches: Sequence[Batch], *, in_one_statement: bool) -> None:
    """As groups do it, the small ones in one statement (as in the function commit_batches), the large ones by COPY."""
    await connection.execute("TRUNCATE hot_batches")
    rows = encoded(batches)
    if in_one_statement:
        await connection.execute(
            f"INSERT INTO hot_batches_1 ({', '.join(COLUMNS)}) SELECT 1, $1, * FROM "
            "unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::int[], $7::bytea[])",
            COMMIT_NO,
            *rows.arguments(),
        )
    else:
        await HotStore(connection).copy(1, rows.copy(1, COMMIT_NO, [True] * len(batches)))


async def copied(connection: Connection) -> bytes:
    """Reads the bytes that BatchStream decodes."""
    portions: list[bytes] = []

    async def keep(data: bytes) -> None:
        portions.append(data)

    await connection.copy_from_query(f"SELECT {READ} FROM hot_batches_1", output=keep, format="binary")
    return b"".join(portions)


def decoded(data: bytes, cuts: Sequence[int] = ()) -> list[Stored]:
    """Decodes the bytes of a COPY, cut at random places, with our decoder."""
    stream = BatchStream()
    found: list[Stored] = []
    for start, end in itertools.pairwise([0, *cuts, len(data)]):
        stream.feed(data[start:end])
        found += _rows(stream.take())
    assert stream.waiting_bytes <= 2
    return found + _rows(stream.finish())


def _rows(points: HotPoints) -> list[Stored]:
    whole = (points.commit_no, points.series_id, points.step, points.time + EPOCH_2000_UNIX_US)
    values = points.value.astype(">f8").tobytes()
    bits = [values[start : start + 8] for start in range(0, len(values), 8)]
    return list(zip(*(column.tolist() for column in whole), bits, strict=True))


async def unpacked(connection: Connection) -> list[tuple[Any, ...]]:
    """The points as PostgreSQL's function returns them: run and rank, then as `Stored`."""
    rows = await connection.fetch(
        "SELECT run_id, rank, commit_no, series_id, step, (extract(epoch FROM time) * 1000000)::numeric(30, 0), "
        "float8send(value) FROM metric_points_hot"
    )
    return [(run_id.int, rank, commit_no, *numbers, bits) for run_id, rank, commit_no, *numbers, bits in rows]


def _nan_is_nan(point: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replaces every NaN by the same one, as PostgreSQL's function does."""
    return (*point[:-1], b"NaN" if math.isnan(struct.unpack(">d", point[-1])[0]) else point[-1])


# Tests ----------------------------------------------------------------------------------------------------------------


def test_what_is_encoded_comes_back(run_in_postgres):
    @settings(
        max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    )
    @given(some_batches(), st.booleans(), st.randoms(use_true_random=False))
    @example([Batch([(1, -(2**63), MIN_TIME_UNIX_US, 5e-324), (LARGEST, LARGEST, MAX_TIME_UNIX_US, -0.0)])], True, RNG)
    def check(batches: list[Batch], in_one_statement: bool, rng: random.Random) -> None:
        async def there_and_back(connection: Connection) -> tuple[bytes, list[tuple[Any, ...]]]:
            await store(connection, batches, in_one_statement=in_one_statement)
            return await copied(connection), await unpacked(connection)

        data, by_postgres = run_in_postgres(there_and_back)
        cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice([0, 1, 20])))
        assert Counter(decoded(data, cuts)) == Counter(point for batch in batches for point in batch.stored())
        assert Counter(map(_nan_is_nan, by_postgres)) == Counter(
            _nan_is_nan((batch.run, batch.rank, *point)) for batch in batches for point in batch.stored()
        )

    check()


@pytest.mark.parametrize("count", [0, 1, MAX_ROW_POINTS, MAX_ROW_POINTS + 1, 40_000])
async def test_points_of_a_batch_keep_their_order(connection, count):
    """Also across the edges of rows, and of the pieces that the driver is given."""
    batch = Batch([(1 + step % 3, step, 0, 0.5) for step in range(count)])
    await store(connection, [batch], in_one_statement=False)
    assert decoded(await copied(connection)) == batch.stored()
    assert sorted(row[4] for row in await unpacked(connection)) == list(range(count))


async def test_any_byte_may_be_the_last_of_a_portion(connection):
    batches = [Batch([(3, 1, 0, 0.5), (2, 5, 9, -0.0)]), Batch([(1, -(2**63), 0, math.nan), (2**40, LARGEST, 1, 0.1)])]
    await store(connection, batches, in_one_statement=False)
    data = await copied(connection)
    expected = [point for batch in batches for point in batch.stored()]
    assert decoded(data, range(1, len(data))) == expected
    for cut in range(len(data)):
        assert decoded(data, [cut]) == expected


async def test_a_copy_that_ends_too_early_is_noticed_at_any_byte(connection):
    await store(
        connection, [Batch([(1, 1, 0, 0.5)]), Batch([(1, 1, 0, 0.5), (1, 2**40, 0, 0.5)])], in_one_statement=True
    )
    data = await copied(connection)
    for end in range(len(data)):
        stream = BatchStream()
        stream.feed(data[:end])
        with pytest.raises(ConnectionError):
            stream.finish()


@pytest.mark.parametrize(
    ("points", "bytes_a_point"),
    [
        ([(1, 0, 0, 0.5), (1 + 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0.5)], 16),
        ([(1, 0, 0, 0.5), (1 + 0x1_0000, 0, 0, 0.5)], 32),
        ([(1, 0, 0, 0.5), (1, 0x1_0000, 0, 0.5)], 32),
        ([(1, 0, 0, 0.5), (1, 0, 0x1_0000_0000, 0.5)], 32),
        ([(1, -(2**63), 0, 0.5), (1, LARGEST, 0, 0.5)], 32),
        ([(LARGEST, LARGEST, MAX_TIME_UNIX_US, 0.5)], 16),
    ],
)
async def test_only_differences_that_do_not_fit_take_more_room(connection, points, bytes_a_point):
    await store(connection, [Batch(points)], in_one_statement=False)
    row = await connection.fetchrow("SELECT length(points), first_series IS NULL FROM hot_batches")
    assert tuple(row) == (bytes_a_point * len(points), bytes_a_point == 32)


async def test_full_rows_fill_their_pages(connection):
    """Two rows of differences a page, and one of whole numbers: none is moved out of its page, or compressed."""
    for distance, rows_a_page in ((1, 2), (2**20, 1)):
        batch = Batch([(1, step * distance, 0, 0.5) for step in range(40 * MAX_ROW_POINTS)])
        await store(connection, [batch], in_one_statement=False)
        # PostgreSQL may have made more pages than it needs.
        pages = await connection.fetchval("SELECT count(DISTINCT (ctid::text::point)[0]) FROM hot_batches")
        assert pages == 40 / rows_a_page
        assert await connection.fetchval("SELECT reltoastrelid FROM pg_class WHERE relname = 'hot_batches_1'") == 0


async def test_only_accepted_batches_are_copied(connection):
    batches = [Batch([(1, number, 0, 0.5)] * 300, rank=number) for number in range(4)]
    await connection.execute("TRUNCATE hot_batches")
    rows = encoded(batches).copy(1, COMMIT_NO, [False, True, True, False])
    await HotStore(connection).copy(1, rows)
    counts = await connection.fetch("SELECT rank, count(*) FROM metric_points_hot GROUP BY rank ORDER BY rank")
    assert [tuple(row) for row in counts] == [(1, 300), (2, 300)]


@pytest.fixture
async def connection(database):
    connected = await database.connect_writer()
    yield connected
    connected.terminate()


@pytest.fixture
def run_in_postgres(database_url) -> Iterator[Callable[[Callable[[Connection], Coroutine[Any, Any, Any]]], Any]]:
    """Runs coroutines on one connection from a test that is not async, as hypothesis needs it."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        database = loop.run_until_complete(Database.open(database_url))
        connected = loop.run_until_complete(database.connect_writer())
        yield lambda make: loop.run_until_complete(make(connected))
        connected.terminate()
        loop.run_until_complete(database.close())
