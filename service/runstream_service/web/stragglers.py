"""The ranks of a run that are slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_service.query.charts.stragglers import THRESHOLD, Stragglers
from runstream_service.web.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller


class StragglersOf(Message):
    """GET runs/{run_id}/stragglers."""

    key: str
    run_id: str = ""


class StragglerHandlers:
    """One method per route of routes.py."""

    def __init__(self, stragglers: Stragglers) -> None:
        self._stragglers = stragglers

    async def read(self, caller: Caller, message: StragglersOf) -> dict[str, Any]:
        scores = await self._stragglers.read(caller, message.run_id, message.key)
        return {
            "key": message.key,
            "window_steps": scores.window_steps,
            "threshold": THRESHOLD,
            "ranks": [
                {
                    "rank": one.rank,
                    "median": one.median,
                    "relative": one.relative,
                    "individual": one.individual,
                    "slow_since_step": one.slow_since_step,
                    "slow_since_us": one.slow_since_us,
                }
                for one in scores.ranks
            ],
        }
