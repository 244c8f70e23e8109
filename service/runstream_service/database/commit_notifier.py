"""Notifies all replicas of commits, with LISTEN and NOTIFY on a connection of its own.

A notification is only a hint, so that live tail need not poll often: it may be lost, come late, or come without a
commit. It is sent outside of the writers' transactions, since a NOTIFY inside a transaction holds a lock of the whole
server until the commit is done.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from runstream._backoff import Backoff
from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.database.pool import translate

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection, Database

log = structlog.get_logger()

CHANNEL = "runstream_commits"
# The least time between two notifications, however many groups are committed.
NOTIFY_EVERY_S = 0.05
# A statement is sent this often when nothing is committed, to find out whether the connection is dead.
CHECK_EVERY_S = 10.0
_ANSWER_WITHIN_S = 5.0
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0


class CommitNotifier:
    """One in each replica: its writers call `notify`, and its tails wait for the notifications of all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._committed_here = asyncio.Event()
        self._notified = asyncio.Event()

    def notify(self) -> None:
        """Call this after a commit. It does not wait, and many calls become one notification."""
        self._committed_here.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns when something was committed since the last wait, or after the timeout."""
        try:
            await with_timeout(self._notified.wait(), timeout_s)
        except TimeoutError:
            return
        self._notified.clear()

    async def run(self) -> None:
        """Listens and notifies until cancelled; connects again whenever the connection is gone."""
        backoff = Backoff(_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S)
        while True:
            connection: Connection | None = None
            try:
                connection = await self._database.connect_notifier()
                # Wakes _forward at once when the connection is lost. A notification that is due is sent on the next
                # one.
                connection.add_termination_listener(lambda _: self._committed_here.set())
                await connection.add_listener(CHANNEL, self._on_notification)
                backoff.reset()
                self._notified.set()  # for what was committed while nobody listened
                await self._forward(connection)
            except Exception as error:
                if translate(error) is None:
                    log.exception(
                        "The commit notifier failed because of a bug; it connects again",
                        action="commit_notifier_failed",
                    )
                else:
                    log.debug(
                        "The commit notifier connects again", action="commit_notifier_reconnects", error=repr(error)
                    )
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(backoff.next_s())

    async def _forward(self, connection: Connection) -> None:
        """Sends our own notifications; returns when the connection is gone."""
        while not connection.is_closed():
            began = time.monotonic()
            try:
                await with_timeout(self._committed_here.wait(), CHECK_EVERY_S)
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=_ANSWER_WITHIN_S)
                continue
            if connection.is_closed():
                return
            self._committed_here.clear()
            await connection.execute(f"NOTIFY {CHANNEL}", timeout=_ANSWER_WITHIN_S)
            await asyncio.sleep(max(0.0, NOTIFY_EVERY_S - (time.monotonic() - began)))

    def _on_notification(self, *_: object) -> None:
        self._notified.set()
