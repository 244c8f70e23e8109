"""What the client reads as tables of pandas and pyarrow, and best values, from the real services."""

from __future__ import annotations

import asyncio
import math
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

import runstream
from runstream_service.database.pool import Database
from tests.support.rpc import serve_on
from tests.support.stored import make_run, prepare, put

UTC = timezone.utc
OF_POINTS = ["run_id", "key", "rank", "attempt", "step", "time", "value"]
# The edges of what is stored: years 1 and 9999, and all that is not a number.
EDGES = [
    (-(2**63), -62_135_596_800_000_000, math.nan),
    (0, 0, -math.inf),
    (1, 1, -0.0),
    (2**63 - 1, 253_402_300_799_999_999, math.inf),
]


@pytest.fixture
async def client(database: Database) -> AsyncIterator[runstream.Client]:
    """A client of a service on this test's database."""
    await prepare(database)
    async with serve_on(database) as services:
        with runstream.Client(services.address) as client:
            yield client


async def test_a_history_is_a_table_with_every_point_as_it_was_stored(
    client: runstream.Client, database: Database
) -> None:
    run_id = await make_run(database)
    await put(database, run_id, "loss", hot=EDGES, rank=0)
    await put(database, run_id, "loss", segments=[[(5, 1_700_000_000_123_456, 0.5)]], rank=3, attempt=2)
    history = await asyncio.to_thread(client.history, run_id, "loss")
    frame, table = history.to_pandas(), history.to_arrow()
    assert list(frame.columns) == table.column_names == OF_POINTS
    dtypes = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    assert dtypes == {
        "run_id": "category",
        "key": "category",
        "rank": "int32",
        "attempt": "int32",
        "step": "int64",
        "time": "datetime64[us, UTC]",
        "value": "float64",
    }
    name, whole = pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), pyarrow.int32()
    time = pyarrow.timestamp("us", tz="UTC")
    types = [name, name, whole, whole, pyarrow.int64(), time, pyarrow.float64()]
    assert [field.type for field in table.schema] == types
    stored = np.array([*(point[2] for point in EDGES), 0.5]).tobytes()
    assert frame["value"].to_numpy().tobytes() == table["value"].to_numpy().tobytes() == stored
    assert table["value"].null_count == 0, "NaN is a value"
    assert frame["step"].tolist() == table["step"].to_pylist() == [*(point[0] for point in EDGES), 5]
    assert frame["time"].astype("int64").tolist() == list(history.times_unix_us)
    assert frame["time"][0].year, frame["time"][3].year == (1, 9999)
    assert table["time"].to_pylist()[4] == datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC)
    assert frame["rank"].tolist() == table["rank"].to_pylist() == [0, 0, 0, 0, 3]
    assert (set(frame["run_id"]), set(frame["key"])) == ({run_id}, {"loss"})
    assert table["key"].to_pylist() == ["loss"] * 5
    by_rank = frame.pivot_table(index="step", columns="rank", values="value", observed=True)
    assert by_rank.loc[5, 3] == 0.5


async def test_columns_of_one_series_are_not_copied(client: runstream.Client, database: Database) -> None:
    run_id = await make_run(database)
    await put(database, run_id, "loss", segments=[[(step, step, float(step)) for step in range(1_000)]])
    history = await asyncio.to_thread(client.history, run_id, "loss")
    (series,) = history.series
    for frame in (history.to_pandas(), series.to_pandas()):
        for name, column in (("step", series.steps), ("value", series.values)):
            assert np.shares_memory(frame[name].to_numpy(), np.frombuffer(column)), name
    for table in (history.to_arrow(), series.to_arrow()):
        for name, column in (("step", series.steps), ("time", series.times_unix_us), ("value", series.values)):
            address = table[name].chunk(0).buffers()[1].address
            assert address == column.buffer_info()[0], name
    (curve,) = await asyncio.to_thread(client.chart, run_id, "loss")
    assert np.shares_memory(curve.to_pandas()["mean"].to_numpy(), np.frombuffer(curve.mean))


async def test_charts_say_in_their_columns_what_their_axis_is(client: runstream.Client, database: Database) -> None:
    runs = sorted([await make_run(database), await make_run(database)])
    for number, run_id in enumerate(runs):
        await put(database, run_id, "loss", hot=[(step, 1_000_000 * step, step + number / 2) for step in range(9)])
    chart = await asyncio.to_thread(client.chart, runs, "loss", max_buckets=3)
    frame = chart.to_pandas()
    assert list(frame.columns)[2:6] == ["rank", "attempt", "first_step", "last_step"]
    assert frame["run_id"].astype(str).tolist() == [run_id for run_id in runs for _ in range(3)]
    assert frame["point_count"].tolist() == [3] * 6
    assert frame["max"].tolist() == chart.to_arrow()["max"].to_pylist() == [2.0, 5.0, 8.0, 2.5, 5.5, 8.5]
    by_time = await asyncio.to_thread(lambda: client.chart(runs, axis="time", max_buckets=3))
    assert by_time.to_pandas()["first_time"].tolist()[1] == pandas.Timestamp(3, unit="s", tz="UTC")
    assert by_time.to_arrow()["last_time"].to_pylist()[0] == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert by_time[0].to_pandas().columns.tolist() == by_time.to_pandas().columns.tolist()
    curve = await asyncio.to_thread(lambda: client.aggregate(runs[0], "loss", max_buckets=3))
    assert curve.to_pandas()["mean"].tolist() == curve.to_arrow()["mean"].to_pylist() == [1.0, 4.0, 7.0]
    assert curve.to_pandas()["min_rank"].dtype == np.int32


async def test_a_search_is_a_table_with_a_column_for_each_param_and_tag(
    client: runstream.Client, database: Database
) -> None:
    first, second = await make_run(database), await make_run(database)
    await database.execute("INSERT INTO params VALUES ($1, 'lr', '0.1')", uuid.UUID(first))
    await database.execute("INSERT INTO tags VALUES ($1, 'note', 'good')", uuid.UUID(second))
    await database.execute(
        "UPDATE runs SET started_at = 'epoch', ended_at = to_timestamp(1), status = 'finished' WHERE run_id = $1",
        uuid.UUID(first),
    )
    runs = await asyncio.to_thread(lambda: client.search_runs(order_by="start_time ASC"))
    assert isinstance(runs, list)
    frame, table = runs.to_pandas(), runs.to_arrow()
    columns = ["run_id", "name", "experiment_id", "experiment", "status", "deleted", "user", "start_time", "end_time"]
    assert list(frame.columns) == table.column_names == [*columns, "params.lr", "tags.note"]
    assert frame["run_id"].tolist() == table["run_id"].to_pylist() == [first, second]
    assert frame["end_time"].tolist() == [pandas.Timestamp(1, unit="s", tz="UTC"), pandas.NaT]
    assert table["end_time"].to_pylist() == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None]
    assert frame["params.lr"].isna().tolist() == [False, True]
    assert table["params.lr"].to_pylist() == ["0.1", None]
    assert table["tags.note"].to_pylist() == [None, "good"]
    assert frame["deleted"].dtype == bool
    assert frame["experiment_id"].tolist() == [0, 0]
    listed = await asyncio.to_thread(client.list_runs, 0)
    assert set(listed.to_pandas()["run_id"]) == {first, second}


async def test_tables_of_nothing_have_the_columns_and_types_of_others(
    client: runstream.Client, database: Database
) -> None:
    full, empty = await make_run(database), await make_run(database)
    await put(database, full, "loss", hot=[(0, 0, 1.0)])

    def read() -> list[tuple[Any, Any]]:
        return [
            (client.history(full, "loss"), client.history(empty, "loss")),
            (client.chart(full, "loss"), client.chart(empty, "loss")),
            (client.aggregate(full, "loss"), client.aggregate(empty, "loss")),
            (client.latest(full, "loss"), client.latest(empty, "loss")),
            (client.best("loss", "min", run_ids=full), client.best("loss", "min", run_ids=empty)),
            (client.search_runs(), client.search_runs("attributes.run_name = 'none'")),
        ]

    for some, none in await asyncio.to_thread(read):
        assert none.to_arrow().schema == some.to_arrow().schema
        assert len(none.to_pandas()) == 0
        numbers = some.to_pandas().select_dtypes(["number", "datetimetz", "bool"]).dtypes
        assert none.to_pandas()[numbers.index].dtypes.equals(numbers)


async def test_best_values_are_those_of_any_rank_and_attempt_and_only_finite_ones(
    client: runstream.Client, database: Database
) -> None:
    good, bad, odd, other = [await make_run(database) for _ in range(4)]
    await put(database, good, 'a `b"', hot=[(1, 0, 3.0), (2, 0, 0.5), (3, 0, 0.5), (4, 0, -math.inf)], rank=1)
    await put(database, good, 'a `b"', hot=[(1, 0, 0.7)], rank=0, attempt=1)
    await put(database, bad, 'a `b"', hot=[(1, 0, 9.0), (2, 0, 8.0)])
    await put(database, odd, 'a `b"', hot=[(1, 0, math.nan), (2, 0, math.inf)])
    await put(database, other, "c", hot=[(1, 0, 0.0)])

    def best(*args: Any, **options: Any) -> runstream.BestValues:
        return client.best('a `b"', *args, **options)

    found = await asyncio.to_thread(lambda: best("min", experiment=0))
    assert found == [
        runstream.BestValue(good, 'a `b"', 1, 0, 2, 0.5),
        runstream.BestValue(bad, 'a `b"', 0, 0, 2, 8.0),
    ]
    (greatest,) = await asyncio.to_thread(lambda: best("max", experiment="Default", limit=1))
    assert (greatest.run_id, greatest.value, greatest.step) == (bad, 9.0, 1)
    assert await asyncio.to_thread(lambda: best("max", limit=0)) == []
    (mine,) = await asyncio.to_thread(lambda: best("max", run_ids=good))
    assert (mine.rank, mine.step, mine.value) == (1, 1, 3.0)
    assert await asyncio.to_thread(lambda: best("min", run_ids=[odd, other])) == []
    filtered = await asyncio.to_thread(lambda: best("min", filter=f"attributes.run_id != '{good}'"))
    assert [one.run_id for one in filtered] == [bad]
    frame = found.to_pandas()
    assert list(frame.columns) == ["run_id", "key", "rank", "attempt", "step", "value"]
    assert frame["value"].tolist() == [0.5, 8.0]


async def test_wrong_arguments_of_best_are_named(client: runstream.Client) -> None:
    with pytest.raises(ValueError, match="goal must be 'min' or 'max', not 'least'"):
        client.best("loss", "least")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave out experiment and filter"):
        client.best("loss", "min", run_ids="0" * 32, experiment="digits")
    with pytest.raises(ValueError, match="quotes of all three kinds"):
        client.best("`'\"", "min")
    with pytest.raises(TypeError, match="key must be a string"):
        client.best(3, "min", run_ids="0" * 32)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "method"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_a_missing_or_old_package_is_named_with_what_to_install(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = runstream.History("0" * 32, "loss", [])
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__="1.5.3"))
    with pytest.raises(ImportError, match=rf"{method}\(\) needs {name} \d+ or newer, and 1.5.3 is installed: pip inst"):
        getattr(history, method)()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{method}\(\) needs the package {name}: pip install '{name}>="):
        getattr(history, method)()
