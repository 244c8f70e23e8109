"""A replica may be killed after any statement of any step; another one goes on, and every point is there once."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runstream_service.database.pool import Connection, Database
from tests.integration.rollup.conftest import Fragile, KilledError, Lab, line, terminate
from tests.support.points import Point

_STEPS = (0, 1, 1, 2, 5, 900, -3, 2**63 - 1, -(2**63))
_TIMES = (0, 1, 1, 2**31, -63_082_281_600_000_000)
_VALUES = (0.5, 0.1, -0.0, 0.0, math.nan, math.inf, -math.inf, 5e-324, 1e300)
# A part of the statements for each test: all of them take a minute or more, and epochs pile up meanwhile.
PARTS = 6


def some_points(rng: random.Random, series: list[int], longest: int = 1_200) -> list[Point]:
    """Late, repeated, duplicate, far away; or a regular line."""
    if rng.random() < 0.3:
        first = rng.randrange(0, 5_000)
        return [point for one in series for point in line(one, first, rng.randrange(1, longest))]
    return [
        (rng.choice(series), rng.choice(_STEPS) if rng.random() < 0.5 else rng.randrange(100), rng.choice(_TIMES),
         rng.choice(_VALUES))
        for _ in range(rng.randrange(1, 60))
    ]  # fmt: skip


async def fill(lab: Lab, series: list[int], rng: random.Random) -> None:
    """Something in every state: dropped epochs with small segments, one that is visible, one that is open."""
    for until in ("drop", "drop", "publish"):
        await lab.append(some_points(rng, series, 20))
        await lab.cycle(until=until)
    await lab.append(some_points(rng, series, 20))


@pytest.mark.parametrize("first", range(1, 1 + PARTS))
async def test_a_kill_after_any_statement_of_the_whole_cycle_harms_nothing(lab, first):
    rng = random.Random(first)
    series = await lab.new_series(3)
    await lab.database.execute("UPDATE runs SET status = 'finished'")
    for survives in itertools.count(first, PARTS):
        await fill(lab, series, rng)
        await lab.check()
        killed = await lab.killed(lab.cycle, survives)
        await lab.check()
        await lab.cycle()
        await lab.check()
        assert await lab.hot_rows() == 0
        if not killed:
            break
        await lab.database.execute("TRUNCATE metric_segments")
        lab.expected.clear()
    assert survives > 30


class DiesInCopy:
    """A connection whose backend is terminated while it copies from, or into, the database."""

    def __init__(self, connection: Connection, killer: Database, method: str) -> None:
        self._connection = connection
        self._killer = killer
        self._method = method

    def __getattr__(self, name: str) -> Any:
        return getattr(self, f"_{name}") if name == self._method else getattr(self._connection, name)

    async def _kill(self) -> None:
        await terminate(self._killer, self._connection)

    async def _copy_from_query(self, *arguments: Any, output: Any, **options: Any) -> None:
        async def receive(data: bytes) -> None:
            await self._kill()
            await output(data)

        await self._connection.copy_from_query(*arguments, output=receive, **options)

    async def _copy_to_table(self, *arguments: Any, source: Any, **options: Any) -> None:
        async def interrupted() -> AsyncIterator[bytes]:
            async for chunk in source:
                yield chunk
                await self._kill()

        await self._connection.copy_to_table(*arguments, source=interrupted(), **options)


@pytest.mark.parametrize("method", ["copy_from_query", "copy_to_table"])
async def test_a_backend_that_dies_in_the_middle_of_a_copy_leaves_the_epoch_as_it_was(lab, method):
    series = await lab.new_series(2)
    await lab.append([point for one in series for point in line(one, 0, 20_000, value=0.1)])
    await lab.cycle(until="seal")
    async with lab.replica() as victim:
        with pytest.raises(Exception, match=r"terminat|connection|closed|lost|ended too early"):
            await asyncio.wait_for(lab.steps()["roll"](DiesInCopy(victim, lab.database, method)), 30)
    assert (await lab.states())[1] == "sealed"
    await lab.check()
    assert await lab.counts() == []
    await lab.cycle()
    await lab.check()


@pytest.mark.parametrize("seed", range(8))
async def test_any_interleaving_of_steps_and_kills_gives_the_points_of_a_plain_list(lab, seed):
    rng = random.Random(seed)
    series = await lab.new_series(4)
    done: list[str] = []
    for _ in range(40):
        name = rng.choice(["append", "append", "rotate", "seal", "roll", "publish", "drop", "merge", "end", "cycle"])
        survives = rng.choice([None, None, 1, 2, 3, 5, 8, 13])
        done.append(f"{name} {survives}")
        try:
            await act(lab, series, rng, name, survives)
            await lab.check()
        except BaseException:
            print(f"seed {seed}: {done}")
            raise
    await lab.cycle()
    await lab.check()
    assert await lab.hot_rows() == 0
    expected: dict[int, tuple[int, int, float]] = {}
    for point in lab.expected:
        key = (*point[1:3], 0.0 if math.isnan(point[3]) else point[3])
        expected[point[0]] = max(expected.get(point[0], key), key)
    latest = {one: (step, time, 0.0 if value == "nan" else float(value)) for one, (step, time, value)
              in (await lab.latest()).items()}  # fmt: skip
    assert latest == expected
    assert await lab.best() == lab.expected_best()


async def act(lab: Lab, series: list[int], rng: random.Random, name: str, survives: int | None) -> None:
    if name == "append":
        await lab.append(some_points(rng, series))
    elif name == "end":
        await lab.database.execute("UPDATE runs SET status = $1", rng.choice(["finished", "running"]))
    else:
        do = lab.cycle if name == "cycle" else lab.steps()[name]
        if survives is None:
            await do(lab.connection)
        else:
            await lab.killed(do, survives)


async def test_readers_see_every_point_once_while_everything_moves(lab):
    """Two replicas roll up as fast as they can, one of them is killed again and again; readers look all the time."""
    series = await lab.new_series(5)
    appended = 0
    stop = asyncio.Event()

    async def append() -> None:
        nonlocal appended
        async with lab.replica() as writer:
            for number in range(60):
                await lab.append([point for one in series for point in line(one, 20 * number, 20)], writer)
                appended = number + 1
        stop.set()

    async def roll_up(survives: int) -> None:
        while not stop.is_set():
            async with lab.replica() as connection:
                try:
                    await lab.cycle(Fragile(connection, survives, lab.database))
                except KilledError:
                    survives = survives % 45 + 3

    async def read() -> None:
        while not stop.is_set():
            before = appended
            stored = await lab.stored()
            assert set(stored.values()) <= {1}
            count = len(stored)
            assert count % 100 == 0
            assert before * 100 <= count <= (appended + 1) * 100

    await asyncio.gather(append(), roll_up(4), roll_up(10_000), read(), read())
    await lab.cycle()
    await lab.check()
