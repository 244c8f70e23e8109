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
from tests.integration.rollup.conftest import Fragile, KilledError, RollupEnvironment, line, terminate
from tests.support.points import Point

_STEPS = (0, 1, 1, 2, 5, 900, -3, 2**63 - 1, -(2**63))
_TIMES = (0, 1, 1, 2**31, -63_082_281_600_000_000)
_VALUES = (0.5, 0.1, -0.0, 0.0, math.nan, math.inf, -math.inf, 5e-324, 1e300)
# A part of the statements for each test: all of them take a minute or more, and epochs pile up meanwhile.
PARTS = 6


def some_points(rng: random.Random, series: list[int], longest: int = 1_200) -> list[Point]:
    """Random points: late, repeated, duplicate or far away; or a regular line."""
    if rng.random() < 0.3:
        first = rng.randrange(0, 5_000)
        return [point for one in series for point in line(one, first, rng.randrange(1, longest))]
    return [
        (rng.choice(series), rng.choice(_STEPS) if rng.random() < 0.5 else rng.randrange(100), rng.choice(_TIMES),
         rng.choice(_VALUES))
        for _ in range(rng.randrange(1, 60))
    ]  # fmt: skip


async def fill(env: RollupEnvironment, series: list[int], rng: random.Random) -> None:
    """Fills epochs in every state: dropped ones with small segments, a visible one, and an open one."""
    for until in ("drop", "drop", "publish"):
        await env.append(some_points(rng, series, 20))
        await env.cycle(until=until)
    await env.append(some_points(rng, series, 20))


@pytest.mark.parametrize("first", range(1, 1 + PARTS))
async def test_a_kill_after_any_statement_of_the_whole_cycle_harms_nothing(env, first):
    rng = random.Random(first)
    series = await env.new_series(3)
    await env.database.execute("UPDATE runs SET status = 'finished'")
    for survives in itertools.count(first, PARTS):
        await fill(env, series, rng)
        await env.check()
        killed = await env.killed(env.cycle, survives)
        await env.check()
        await env.cycle()
        await env.check()
        assert await env.hot_rows() == 0
        if not killed:
            break
        await env.database.execute("TRUNCATE metric_segments")
        env.expected.clear()
    assert survives > 30


class DiesInCopy:
    """A connection whose backend is terminated while it copies from, or into, the database."""

    def __init__(self, connection: Connection, killer: Database, method: str) -> None:
        self._connection = connection
        self._killer = killer
        self._method = method
        self.killed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self, f"_{name}") if name == self._method else getattr(self._connection, name)

    async def _kill(self) -> None:
        self.killed |= await terminate(self._killer, self._connection)

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
async def test_a_backend_that_dies_in_the_middle_of_a_copy_leaves_the_epoch_as_it_was(env, method):
    series = await env.new_series(2)
    await env.append([point for one in series for point in line(one, 0, 20_000, value=0.1)])
    await env.cycle(until="seal")
    async with env.replica() as replica:
        victim = DiesInCopy(replica, env.database, method)
        with pytest.raises(Exception, match=r"terminat|connection|closed|lost|ended too early"):
            await asyncio.wait_for(env.steps()["roll"](victim), 30)
        assert victim.killed
    assert (await env.states())[1] == "sealed"
    await env.check()
    assert await env.counts() == []
    await env.cycle()
    await env.check()


@pytest.mark.parametrize("seed", range(8))
async def test_any_interleaving_of_steps_and_kills_gives_the_points_of_a_plain_list(env, seed):
    rng = random.Random(seed)
    series = await env.new_series(4)
    done: list[str] = []
    for _ in range(40):
        name = rng.choice(["append", "append", "rotate", "seal", "roll", "publish", "drop", "merge", "end", "cycle"])
        survives = rng.choice([None, None, 1, 2, 3, 5, 8, 13])
        done.append(f"{name} {survives}")
        try:
            await act(env, series, rng, name, survives)
            await env.check()
        except BaseException:
            print(f"seed {seed}: {done}")
            raise
    await env.cycle()
    await env.check()
    assert await env.hot_rows() == 0
    expected: dict[int, tuple[int, int, float]] = {}
    for point in env.expected:
        key = (*point[1:3], 0.0 if math.isnan(point[3]) else point[3])
        expected[point[0]] = max(expected.get(point[0], key), key)
    latest = {one: (step, time, 0.0 if value == "nan" else float(value)) for one, (step, time, value)
              in (await env.latest()).items()}  # fmt: skip
    assert latest == expected
    assert await env.best() == env.expected_best()


async def act(env: RollupEnvironment, series: list[int], rng: random.Random, name: str, survives: int | None) -> None:
    if name == "append":
        await env.append(some_points(rng, series))
    elif name == "end":
        await env.database.execute("UPDATE runs SET status = $1", rng.choice(["finished", "running"]))
    else:
        do = env.cycle if name == "cycle" else env.steps()[name]
        if survives is None:
            await do(env.connection)
        else:
            await env.killed(do, survives)


async def test_readers_see_every_point_once_while_everything_moves(env):
    """Two replicas roll up as fast as they can, one of them is killed again and again; readers look all the time."""
    series = await env.new_series(5)
    appended = 0
    stop = asyncio.Event()

    async def append() -> None:
        nonlocal appended
        async with env.replica() as writer:
            for number in range(60):
                await env.append([point for one in series for point in line(one, 20 * number, 20)], writer)
                appended = number + 1
        stop.set()

    async def roll_up(survives: int) -> None:
        while not stop.is_set():
            async with env.replica() as connection:
                try:
                    await env.cycle(Fragile(connection, survives, env.database))
                except KilledError:
                    survives = survives % 45 + 3

    async def read() -> None:
        while not stop.is_set():
            before = appended
            stored = await env.stored()
            assert set(stored.values()) <= {1}
            count = len(stored)
            assert count % 100 == 0
            assert before * 100 <= count <= (appended + 1) * 100

    await asyncio.gather(append(), roll_up(4), roll_up(10_000), read(), read())
    await env.cycle()
    await env.check()
