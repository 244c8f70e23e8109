"""Answers that many pages ask for again and again: made once, shared, and not sent to who has them already."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

import orjson

from runstream_service.query.reading.read_transaction import compute

Answer = dict[str, Any]

# Different questions whose answers are kept; the longest, 200 runs with 100 metrics each, have 3 MB.
_MOST = 16


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """An answer, and a hash that says whether another one is the same."""

    answer: Answer
    state: str


@dataclass(slots=True)
class _Entry:
    begun_at: float
    task: asyncio.Task[SharedAnswer]


class SharedAnswers:
    """Keeps answers for those who take one of some age; who asks while one is being made waits for that one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[Hashable, _Entry] = {}

    async def get(self, key: Hashable, max_age_s: float, make: Callable[[], Awaitable[Answer]]) -> SharedAnswer:
        """The answer to the question `key`, which was begun at most `max_age_s` ago, or is made now.

        Raises whatever `make` raises; such an answer is not kept.
        """
        now = self._clock()
        entry = self._entries.get(key)
        if entry is None or now - entry.begun_at > max_age_s or _failed(entry.task):
            entry = _Entry(now, asyncio.ensure_future(_made(make)))
            # Who asked first may go away; the others still wait, and an error that nobody waits for is no news.
            entry.task.add_done_callback(_failed)
            self._entries.pop(key, None)
            self._entries[key] = entry
            while len(self._entries) > _MOST:
                del self._entries[next(iter(self._entries))]
        try:
            return await asyncio.shield(entry.task)
        except Exception as error:
            raise copy.copy(error) from error  # each waiter raises its own


async def _made(make: Callable[[], Awaitable[Answer]]) -> SharedAnswer:
    answer = await make()
    return SharedAnswer(answer, await compute(1_000_000, _state_of, answer))


def _state_of(answer: Answer) -> str:
    return hashlib.blake2b(orjson.dumps(answer), digest_size=12).hexdigest()


def _failed(task: asyncio.Task[SharedAnswer]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
