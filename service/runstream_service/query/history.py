"""All points of series, exactly, streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.core.errors import DatabaseUnavailable, InvalidField, RunNotFound
from runstream_service.core.names import parse_run_id
from runstream_service.query.rows import Piece, RowDecoder
from runstream_service.storage.database import READ_TIMEOUT_S
from runstream_service.storage.queries import load

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.storage.database import Database

SQL = load("points")

MAX_KEYS = 1_000
_MIN_STEP, _MAX_STEP = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Series:
    """Names one series. `run_id` is 32 hex digits."""

    run_id: str
    key: str
    rank: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuestion:
    """Which points; None means: no such bound. No keys means: all keys. Step bounds are inclusive."""

    run_id: str
    keys: Sequence[str] = ()
    rank: int | None = None
    attempt: int | None = None
    min_step: int | None = None
    max_step: int | None = None


Emit = Callable[[Series, Piece], Awaitable[None]]


class History:
    """Reads histories, at most `max_reads` at a time: slow readers must not take all of the pool's connections."""

    def __init__(self, database: Database, *, max_reads: int) -> None:
        self._database = database
        self._places = asyncio.Semaphore(max_reads)

    async def read(self, caller: Caller, question: HistoryQuestion, emit: Emit) -> None:
        """Hands over all points, series by series in the order (key, rank, attempt), each by (step, time).

        Waits for `emit` before it reads on, so a slow receiver slows PostgreSQL down instead of filling our memory.

        Raises:
            InvalidField, RunNotFound, DatabaseUnavailable (also for a read of more than 60 s).
        """
        run_id = parse_run_id(question.run_id, field="run_id")
        check_keys(question.keys)
        async with self._places, self._database.acquire() as connection:
            rows = await connection.fetch(
                SQL["series_of_run"],
                caller.workspace_id,
                run_id,
                list(question.keys) or None,
                question.rank,
                question.attempt,
            )
            if not rows:
                if not await connection.fetchval(SQL["run_exists"], caller.workspace_id, run_id):
                    raise RunNotFound(f"no run with id {run_id.hex}", field="run_id")
                return
            series = [Series(run_id.hex, row["key"], row["rank"], row["attempt"]) for row in rows]
            decoder = RowDecoder()

            async def receive(data: bytes) -> None:
                for piece in decoder.feed(data):
                    await emit(series[piece.position - 1], piece)

            try:
                await connection.copy_from_query(
                    SQL["history"],
                    [row["series_id"] for row in rows],
                    _MIN_STEP if question.min_step is None else question.min_step,
                    _MAX_STEP if question.max_step is None else question.max_step,
                    output=receive,
                    format="binary",
                    timeout=READ_TIMEOUT_S,
                )
            except (TimeoutError, asyncio.TimeoutError) as error:
                raise DatabaseUnavailable(
                    f"the read took longer than {READ_TIMEOUT_S:.0f} s; ask for fewer keys or steps at a time"
                ) from error
            for piece in decoder.finish():
                await emit(series[piece.position - 1], piece)


def check_keys(keys: Sequence[str]) -> None:
    """Raises InvalidField for more than 1,000 keys, or one that no key can be."""
    if len(keys) > MAX_KEYS:
        raise InvalidField(f"keys: has {len(keys):,} keys; at most {MAX_KEYS:,} are allowed", field="keys")
    if any("\0" in key for key in keys):
        raise InvalidField("keys: a key has a NUL character", field="keys")
