"""Tells all replicas that something was committed: LISTEN and NOTIFY on a connection of its own.

Only a hint, so that live tail need not poll often: it may be lost, come late or for nothing. Writers ring outside of
their transactions, since a NOTIFY inside takes a lock of the whole server until its commit is done.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from runstream_service.storage.database import translate

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection, Database

log = structlog.get_logger()

CHANNEL = "runstream_commits"
# At most so often, however many groups are committed.
RING_EVERY_S = 0.1
# A connection that died without a word shows when it is asked this often.
ASK_EVERY_S = 10.0
_ANSWER_WITHIN_S = 5.0
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0


class CommitBell:
    """One in each replica: its writers ring, and its tails wait for the rings of all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rung_here = asyncio.Event()
        self._heard = asyncio.Event()

    def ring(self) -> None:
        """Something was committed. Costs nothing; many rings become one."""
        self._rung_here.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns when something was committed since the last wait, or after the timeout."""
        try:
            await asyncio.wait_for(self._heard.wait(), timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            return
        self._heard.clear()

    async def run(self) -> None:
        """Listens and notifies until cancelled; connects again whenever the connection is gone."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            connection: Connection | None = None
            try:
                connection = await self._database.connect_bell()
                # So that the loss is noticed at once; the ring, if there was one, is for the next connection.
                connection.add_termination_listener(lambda _: self._rung_here.set())
                await connection.add_listener(CHANNEL, self._hear)
                backoff_s = _FIRST_BACKOFF_S
                self._heard.set()  # for what was rung while nobody listened
                await self._pass_on(connection)
            except Exception as error:
                if translate(error) is None:
                    log.exception("The commit bell failed for a bug", action="bell_failed")
                else:
                    log.debug("The commit bell connects again", action="bell_reconnects", error=repr(error))
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def _pass_on(self, connection: Connection) -> None:
        """Sends our own rings; returns when the connection is gone."""
        while not connection.is_closed():
            began = time.monotonic()
            try:
                await asyncio.wait_for(self._rung_here.wait(), ASK_EVERY_S)
            except (TimeoutError, asyncio.TimeoutError):
                await connection.execute("SELECT 1", timeout=_ANSWER_WITHIN_S)
                continue
            if connection.is_closed():
                return
            self._rung_here.clear()
            await connection.execute(f"NOTIFY {CHANNEL}", timeout=_ANSWER_WITHIN_S)
            await asyncio.sleep(max(0.0, RING_EVERY_S - (time.monotonic() - began)))

    def _hear(self, *_: object) -> None:
        self._heard.set()
