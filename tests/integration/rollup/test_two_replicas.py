"""Two replicas roll up two epochs of the same series at the same time; latest values come with publishing."""

from __future__ import annotations

import asyncio
from typing import Any

from runstream_service.database.pool import Connection
from runstream_service.rollup import epochs
from runstream_service.rollup.rollup import roll
from tests.integration.rollup.conftest import RollupEnvironment, line


class HeldBeforeCommit:
    """A replica's connection that stops before COMMIT, with all of its locks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, query: str, *arguments: Any) -> Any:
        if query == "COMMIT":
            self.arrived.set()
            await self.go_on.wait()
        return await self._connection.execute(query, *arguments)


async def two_sealed_epochs(env: RollupEnvironment, series: list[int]) -> None:
    for first in (0, 100):
        await env.append([point for one in series for point in line(one, first, 50, value=float(first))])
        await env.cycle(until="rotate")
    await env.cycle(until="seal")


async def test_two_epochs_of_the_same_series_are_rolled_up_at_the_same_time(env: RollupEnvironment) -> None:
    series = await env.new_series(20)
    await two_sealed_epochs(env, series)
    async with env.replica() as first, env.replica() as second:
        held: Any = HeldBeforeCommit(first)
        rolling = asyncio.create_task(roll(held, env.metrics))
        await held.arrived.wait()
        # The older epoch is not committed, and the other replica is done with the newer one.
        newer = await asyncio.wait_for(roll(second, env.metrics), 30)
        assert newer is not None
        assert newer.epoch == 2
        assert await epochs.publish(second) == 0
        held.go_on.set()
        older = await rolling
        assert older is not None
        assert older.epoch == 1
    assert await epochs.publish(env.connection) == 2
    await env.check()
    assert {step for step, _, _ in (await env.latest()).values()} == {149}


async def test_latest_values_are_there_when_the_epoch_is_visible_and_not_before(env: RollupEnvironment) -> None:
    (series,) = await env.new_series()
    await env.append(line(series, 0, 50))
    await env.cycle(until="roll")
    assert await env.latest() == {}
    await env.cycle(until="publish")
    assert await env.latest() == {series: (49, 49_000_000, "0.5")}
    assert await env.database.fetchval("SELECT count(*) FROM unpublished_latest_values") == 0


async def test_an_older_epoch_that_comes_with_later_steps_wins_whatever_the_order(env: RollupEnvironment) -> None:
    (series,) = await env.new_series()
    for first in (100, 0):
        await env.append(line(series, first, 50, value=float(first)))
        await env.cycle(until="rotate")
    await env.cycle(until="publish")
    assert await env.latest() == {series: (149, 149_000_000, "100.0")}
    await env.check()
