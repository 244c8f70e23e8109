"""Rolls up immediately, with the service's own steps."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from runstream_service.database.pool import Database
from runstream_service.rollup import epochs, rollup
from runstream_service.rollup.metrics import RollupMetrics


async def roll_up(database: Database) -> int:
    """Closes the open epoch if it has points, and rolls up all closed epochs; returns the watermark."""
    metrics = RollupMetrics(CollectorRegistry())
    connection = await database.connect_rollup()
    try:
        await epochs.rotate(connection, max_points=1, max_age_s=0)
        while not await epochs.seal(connection):
            await asyncio.sleep(0.01)
        while await rollup.roll(connection, metrics):
            pass
        await epochs.publish(connection)
        return int(await connection.fetchval("SELECT visible_epoch FROM watermark"))
    finally:
        connection.terminate()
