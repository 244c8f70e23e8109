"""QueryService over real gRPC; tests write the hot points directly."""

from __future__ import annotations

import asyncio
import math
import random
import struct
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from runstream.v1 import query_pb2, query_pb2_grpc, run_pb2
from runstream_service.database.pool import Database
from runstream_service.query.reading import read_transaction
from runstream_service.query.reading.read_transaction import SQL
from tests.support.hot import put_hot, put_selected
from tests.support.rpc import Services, reason_of, serve_on
from tests.support.segments import roll_up_all
from tests.support.stored import prepare, put
from tests.support.tail import new_series

Code = grpc.StatusCode
MIN_TIME_US, MAX_TIME_US = -62_135_596_800_000_000, 253_402_300_799_999_999
EPOCH_2000_UNIX_US = 946_684_800_000_000
Point = tuple[int, int, float]


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with serve_on(database) as running:
        yield running


@pytest.fixture
async def run_id(services: Services) -> str:
    answer = await services.runs.CreateRun(run_pb2.CreateRunRequest())
    return str(answer.run.run_id)


async def add(
    services: Services, run_id: str, key: str, points: list[Point], *, rank: int = 0, attempt: int = 0, epoch: int = 1
) -> None:
    """Puts hot points of one series."""
    series_id = await new_series(services.database, uuid.UUID(run_id), key, rank=rank, attempt=attempt)
    async with services.database.acquire() as connection:
        await put_hot(
            connection,
            [(series_id, step, us - EPOCH_2000_UNIX_US, value) for step, us, value in points],
            epoch=epoch,
        )


async def read(services: Services, run_id: str, **fields: Any) -> list[tuple[str, int, int, list[Point]]]:
    """Series with all their points, joined from the pieces of the answer."""
    found: dict[tuple[str, int, int], list[Point]] = {}
    async for piece in services.query.History(query_pb2.HistoryRequest(run_id=run_id, **fields)):
        assert piece.series.run_id == run_id
        assert piece.point_count == len(piece.step) == len(piece.time_unix_us) == len(piece.value) <= 16_384
        name = (piece.series.key, piece.series.rank, piece.series.attempt)
        found.setdefault(name, []).extend(zip(piece.step, piece.time_unix_us, piece.value, strict=True))
    return [(*name, points) for name, points in found.items()]


async def latest_of(services: Services, **fields: Any) -> list[tuple[str, str, int, int, Point]]:
    """Run, key, rank, attempt and the point of each row."""
    rows = []
    async for piece in services.query.Latest(query_pb2.LatestRequest(**fields)):
        whose = zip(piece.run_index, piece.key_index, piece.rank, piece.attempt, strict=True)
        points = list(zip(piece.step, piece.time_unix_us, piece.value, strict=True))
        assert len(points) == piece.point_count
        rows += [
            (piece.run_ids[run], piece.keys[key], rank, attempt, point)
            for (run, key, rank, attempt), point in zip(whose, points, strict=True)
        ]
    return rows


async def drain(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (drain(call) if hasattr(call, "read") else call)
    return reason_of(caught.value)


# -- history ---------------------------------------------------------------------------------------------------------


async def test_series_come_by_key_rank_attempt_and_points_by_step_and_time(services: Services, run_id: str) -> None:
    await add(services, run_id, "b", [(2, 20, 2.0), (1, 10, 1.0), (1, 5, 0.5), (-3, 99, 9.0)])
    await add(services, run_id, "a", [(1, 1, 1.0)], rank=10)
    await add(services, run_id, "a", [(1, 1, 2.0)], rank=2, attempt=1)
    await add(services, run_id, "a", [(1, 1, 3.0)], rank=2)
    await add(services, run_id, "Z", [(1, 1, 4.0)], rank=-1)
    assert await read(services, run_id) == [
        ("Z", -1, 0, [(1, 1, 4.0)]),
        ("a", 2, 0, [(1, 1, 3.0)]),
        ("a", 2, 1, [(1, 1, 2.0)]),
        ("a", 10, 0, [(1, 1, 1.0)]),
        ("b", 0, 0, [(-3, 99, 9.0), (1, 5, 0.5), (1, 10, 1.0), (2, 20, 2.0)]),
    ]


async def test_values_steps_and_times_come_back_bit_for_bit(services: Services, run_id: str) -> None:
    values = [math.inf, -math.inf, -0.0, 0.0, 5e-324, -5e-324, 1.7976931348623157e308, 0.1, math.pi]
    points = [(step, step, value) for step, value in enumerate(values)]
    points += [
        (-(2**63), MIN_TIME_US, 1.0),
        (2**63 - 1, MAX_TIME_US, 2.0),
        (50, -1, 3.0),
        (51, 946_684_800_000_000, 4.0),
    ]
    await add(services, run_id, "k", points)
    ((_, _, _, found),) = await read(services, run_id)
    pack = [(step, us, struct.pack(">d", value)) for step, us, value in found]
    assert pack == [(step, us, struct.pack(">d", value)) for step, us, value in sorted(points)]
    await add(services, run_id, "nan", [(1, 1, math.nan)])
    ((_, _, _, (point,)),) = await read(services, run_id, keys=["nan"])
    assert math.isnan(point[2])


async def test_repeated_points_are_all_there(services: Services, run_id: str) -> None:
    await add(services, run_id, "k", [(1, 1, 1.0)] * 3)
    assert await read(services, run_id) == [("k", 0, 0, [(1, 1, 1.0)] * 3)]


async def test_long_series_come_in_several_messages_and_complete(services: Services, run_id: str) -> None:
    points = [(step, step * 7, step / 3) for step in range(40_000)]
    await add(services, run_id, "long", points[::-1])
    await add(services, run_id, "short", [(0, 0, 1.0)])
    assert await read(services, run_id) == [("long", 0, 0, points), ("short", 0, 0, [(0, 0, 1.0)])]
    sizes = [
        piece.point_count
        async for piece in services.query.History(query_pb2.HistoryRequest(run_id=run_id, keys=["long"]))
    ]
    assert sizes == [16_384, 16_384, 7_232]


async def test_filters_by_key_rank_attempt_and_steps(services: Services, run_id: str) -> None:
    for key in ("a", "b"):
        for rank in (0, 1):
            for attempt in (0, 1):
                points = [(step, 0, float(step)) for step in range(4)]
                await add(services, run_id, key, points, rank=rank, attempt=attempt)
    assert len(await read(services, run_id)) == 8
    assert [row[:3] for row in await read(services, run_id, keys=["b", "b", "missing"], rank=0)] == [
        ("b", 0, 0),
        ("b", 0, 1),
    ]
    assert [row[:3] for row in await read(services, run_id, keys=["a"], rank=1, attempt=0)] == [("a", 1, 0)]
    only_a = {"keys": ["a"], "rank": 0, "attempt": 0}
    assert [point[0] for point in (await read(services, run_id, **only_a, min_step=1, max_step=2))[0][3]] == [1, 2]
    assert [point[0] for point in (await read(services, run_id, **only_a, min_step=0, max_step=0))[0][3]] == [0]
    assert await read(services, run_id, **only_a, min_step=3, max_step=2) == []


async def test_hot_points_at_or_below_the_watermark_are_not_read(services: Services, run_id: str) -> None:
    await add(services, run_id, "k", [(1, 1, 1.0)])
    await services.database.execute("SELECT create_hot_partition(2)")
    await add(services, run_id, "k", [(2, 2, 2.0)], epoch=2)
    assert await read(services, run_id) == [("k", 0, 0, [(1, 1, 1.0), (2, 2, 2.0)])]
    await services.database.execute("UPDATE watermark SET visible_epoch = 1")
    assert await read(services, run_id) == [("k", 0, 0, [(2, 2, 2.0)])]
    assert await latest_of(services, run_ids=[run_id]) == [(run_id, "k", 0, 0, (2, 2, 2.0))]
    await services.database.execute("UPDATE watermark SET visible_epoch = 2")
    assert await read(services, run_id) == []


async def test_run_without_points_unknown_key_and_deleted_run(services: Services, run_id: str) -> None:
    assert await read(services, run_id) == []
    await add(services, run_id, "k", [(1, 1, 1.0)])
    assert await read(services, run_id, keys=["'; DROP TABLE series; --"]) == []
    await services.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run_id))
    assert len(await read(services, run_id)) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"run_id": "f" * 32}, (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")),
        ({"run_id": "nonsense"}, (Code.INVALID_ARGUMENT, "INVALID_FIELD", "run_id")),
        ({"run_id": "f" * 32, "keys": ["k"] * 1_001}, (Code.INVALID_ARGUMENT, "INVALID_FIELD", "keys")),
        ({"run_id": "f" * 32, "keys": ["\0"]}, (Code.INVALID_ARGUMENT, "INVALID_FIELD", "keys")),
    ],
)
async def test_wrong_history_requests(services: Services, fields: dict[str, Any], expected: object) -> None:
    assert await refused(services.query.History(query_pb2.HistoryRequest(**fields))) == expected


async def test_caller_that_leaves_in_the_middle_gives_its_connection_back(services: Services, run_id: str) -> None:
    await _fill(services, run_id, 200_000)
    for _ in range(12):  # more than there are connections, and places for reads
        stream = services.query.History(query_pb2.HistoryRequest(run_id=run_id))
        await stream.read()
        stream.cancel()
    assert len(await read(services, run_id, max_step=10)) == 1


async def test_reader_that_takes_no_more_hot_points_is_ended_in_time(
    services: Services, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_transaction, "READ_TIMEOUT_S", 4.0)
    await _fill(services, run_id, 300_000)
    # Otherwise gRPC buffers many megabytes that the caller has not read yet.
    small = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    async with grpc.aio.insecure_channel(services.address, options=small) as channel:
        stream = query_pb2_grpc.QueryServiceStub(channel).History(query_pb2.HistoryRequest(run_id=run_id))
        await stream.read()
        assert await _in_transactions(services) == 1
        give_up = asyncio.get_running_loop().time() + 60
        while await _in_transactions(services):
            assert asyncio.get_running_loop().time() < give_up
            await asyncio.sleep(0.02)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drain(stream)
    assert reason_of(caught.value)[:2] == (Code.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    monkeypatch.undo()
    assert len(await read(services, run_id, max_step=10)) == 1


async def _in_transactions(services: Services) -> int:
    """How many other connections are in a transaction, such as that of a read."""
    count = await services.database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return int(count)


async def test_slow_reader_slows_postgres_down_and_is_ended_in_time(
    services: Services, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_transaction, "READ_TIMEOUT_S", 2.0)
    await _fill_segments(services, run_id, 500)
    stream = services.query.History(query_pb2.HistoryRequest(run_id=run_id))
    await stream.read()
    # Nothing more is read, so flow control has to stop the whole chain: most rows are never sent.
    reads = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE 'COPY%' AND backend_type = 'client backend'"
    )
    assert await services.database.fetchval(reads) == 1
    while await services.database.fetchval(reads):
        await asyncio.sleep(0.02)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(stream)
    assert reason_of(caught.value)[:2] == (Code.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert "longer than" in (caught.value.details() or "")
    monkeypatch.undo()
    assert len(await read(services, run_id, max_step=10)) == 1


async def test_connection_that_dies_in_the_middle_of_a_read_is_unavailable(services: Services, run_id: str) -> None:
    await _fill_segments(services, run_id, 500)
    stream = services.query.History(query_pb2.HistoryRequest(run_id=run_id))
    await stream.read()
    await services.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'COPY%' AND pid <> pg_backend_pid()"
    )
    assert (await refused(stream))[:2] == (Code.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def _fill(services: Services, run_id: str, count: int) -> None:
    """Many points of one series, made by PostgreSQL."""
    series_id = await new_series(services.database, uuid.UUID(run_id), "many")
    await services.database.execute(
        put_selected(f"SELECT {series_id}, step, now(), step FROM generate_series(1, {count}) AS step")
    )


async def _fill_segments(services: Services, run_id: str, count: int) -> None:
    """The same points in segments of a thousand."""
    await prepare(services.database)
    await put(services.database, run_id, "many", segments=[[(step, step, step / 3) for step in range(1_000)]])
    await services.database.execute(
        "INSERT INTO metric_segments SELECT (jsonb_populate_record(s, jsonb_build_object("
        " 'first_step', 1000 * i, 'last_step', 1000 * i + 999))).*"
        f" FROM metric_segments s, generate_series(1, {count}) AS i"
    )


async def test_segments_made_by_sql_alone_are_read(services: Services, run_id: str) -> None:
    points = [(step, 1_000 * step, step / 8) for step in range(50)]
    odd = [(7, 5, math.nan), (3, 9, 0.1), (3, 4, math.inf), (10**15, MIN_TIME_US + 9, -0.0)]
    await add(services, run_id, "regular", points)
    await add(services, run_id, "odd", odd)
    await roll_up_all(services.database, segment_points=20)
    await add(services, run_id, "regular", [(25, 1, 9.0)], epoch=2)
    found = {row[0]: row[3] for row in await read(services, run_id)}
    assert found["regular"] == sorted([*points, (25, 1, 9.0)])
    assert repr(found["odd"]) == repr(sorted(odd, key=lambda point: point[:2]))
    assert [(row[1], row[4][0]) for row in await latest_of(services, run_ids=[run_id])] == [
        ("odd", 10**15),
        ("regular", 49),
    ]


# -- latest ----------------------------------------------------------------------------------------------------------


async def test_latest_is_the_greatest_step_then_time_then_value_with_nan_as_zero(
    services: Services, run_id: str
) -> None:
    await add(services, run_id, "step", [(1, 9, 9.0), (2, 1, 1.0)])
    await add(services, run_id, "time", [(1, 1, 9.0), (1, 2, 1.0)])
    await add(services, run_id, "value", [(1, 1, 1.0), (1, 1, 3.0), (1, 1, 2.0)])
    await add(services, run_id, "nan_above_negative", [(1, 1, -1.0), (1, 1, math.nan)])
    await add(services, run_id, "nan_below_positive", [(1, 1, 1.0), (1, 1, math.nan)])
    await add(services, run_id, "inf", [(1, 1, math.inf), (1, 1, math.nan), (1, 1, 1e308)])
    await add(services, run_id, "only_nan", [(1, 1, math.nan)])
    await add(services, run_id, "empty", [])
    found = {row[1]: row[4] for row in await latest_of(services, run_ids=[run_id])}
    assert list(found) == sorted(found)
    assert math.isnan(found.pop("nan_above_negative")[2])
    assert math.isnan(found.pop("only_nan")[2])
    assert found == {
        "step": (2, 1, 1.0),
        "time": (1, 2, 1.0),
        "value": (1, 1, 3.0),
        "nan_below_positive": (1, 1, 1.0),
        "inf": (1, 1, math.inf),
    }


async def test_keys_whose_hashes_are_the_same_are_told_apart(
    services: Services, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("b", "a"):
        await add(services, run_id, key, [(1, 1, 1.0)])
    hashed = "hashtextextended(s.key, $4::bigint),"
    assert SQL["series_with_hashes"].count(hashed) == 1
    good = "CASE WHEN $4::bigint = 7 THEN hashtextextended(s.key, 7) ELSE 0 END,"
    collides = SQL["series_with_hashes"].replace(hashed, good)
    monkeypatch.setitem(SQL, "series_with_hashes", collides)
    seeds = iter([5, 6, 7])
    monkeypatch.setattr(random, "getrandbits", lambda _: next(seeds))
    many = [run_id, *(uuid.uuid4().hex for _ in range(5))]  # of a few runs, keys come as text
    assert [row[1] for row in await latest_of(services, run_ids=many)] == ["a", "b"]
    assert next(seeds, None) is None


async def test_latest_of_several_runs_leaves_unknown_ones_out(services: Services, run_id: str) -> None:
    other = (await services.runs.CreateRun(run_pb2.CreateRunRequest())).run.run_id
    for name in (run_id, other):
        await add(services, name, "a", [(1, MAX_TIME_US, 1.0)], rank=1)
        await add(services, name, "a", [(1, MIN_TIME_US, 1.0)], rank=0)
        await add(services, name, "b", [(1, 1, 1.0)])
    assert await latest_of(services, run_ids=[other, run_id, "f" * 32, other], keys=["a"]) == [
        (name, "a", rank, 0, (1, us, 1.0))
        for name in sorted([run_id, other])
        for rank, us in ((0, MIN_TIME_US), (1, MAX_TIME_US))
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "run_ids"),
        ({"run_ids": ["f" * 32] * 1_001}, "run_ids"),
        ({"run_ids": ["f" * 31]}, "run_ids"),
        ({"run_ids": ["f" * 32], "keys": ["k"] * 1_001}, "keys"),
    ],
)
async def test_wrong_latest_requests(services: Services, fields: dict[str, Any], field: str) -> None:
    outcome = await refused(services.query.Latest(query_pb2.LatestRequest(**fields)))
    assert outcome == (Code.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_another_workspaces_points_are_not_found(services: Services) -> None:
    run = uuid.uuid4()
    await services.database.execute("INSERT INTO workspaces (workspace_id, name) VALUES (2, 'theirs')")
    await services.database.execute("INSERT INTO experiments (experiment_id, workspace_id, name) VALUES (77, 2, 'e')")
    await services.database.execute(
        "INSERT INTO runs (run_id, experiment_id, name, started_at) VALUES ($1, 77, 'r', now())", run
    )
    await add(services, run.hex, "secret", [(1, 1, 1.0)])
    history_call = services.query.History(query_pb2.HistoryRequest(run_id=run.hex))
    assert await refused(history_call) == (Code.NOT_FOUND, "RUN_NOT_FOUND", "run_id")
    assert await latest_of(services, run_ids=[run.hex]) == []


async def test_our_text_of_values_agrees_with_postgres(services: Services, run_id: str) -> None:
    """PostgreSQL's own output of the same rows is the judge of the decoder."""
    await add(services, run_id, "k", [(7, 1_700_000_000_123_456, 0.1), (8, -1, 1e-300), (9, MIN_TIME_US, -math.inf)])
    rows = await services.database.fetch(
        "SELECT step, (extract(epoch FROM time) * 1000000)::bigint, value::text FROM metric_points_hot ORDER BY step"
    )
    ((_, _, _, points),) = await read(services, run_id)
    assert [(step, us, float(text)) for step, us, text in map(tuple, rows)] == points
