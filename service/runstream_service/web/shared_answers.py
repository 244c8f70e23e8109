"""Shares answers that many pages poll: each is made once, and not sent again to a page that has it."""

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

# How many answers are kept. The longest, 200 runs with 100 metrics each, have 3 MB.
_MAX_ANSWERS = 16


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """An answer and its hash, `state`, by which a page recognises an answer that it has."""

    answer: Answer
    state: str


@dataclass(slots=True)
class _Entry:
    begun_at: float
    task: asyncio.Task[SharedAnswer]


class SharedAnswers:
    """Keeps answers for callers that accept an older one. Callers that come while an answer is being made wait for
    it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[Hashable, _Entry] = {}

    async def get(self, key: Hashable, max_age_s: float, make: Callable[[], Awaitable[Answer]]) -> SharedAnswer:
        """The answer for `key`: the kept one if it was begun at most `max_age_s` seconds ago, or a new one by `make`.

        Raises what `make` raises; errors are not kept.
        """
        now = self._clock()
        entry = self._entries.get(key)
        if entry is None or now - entry.begun_at > max_age_s or _failed(entry.task):
            entry = _Entry(now, asyncio.ensure_future(_made(make)))
            # The first caller may go away while others wait. If nobody waits, an error must not be reported as lost.
            entry.task.add_done_callback(_failed)
            self._entries.pop(key, None)
            self._entries[key] = entry
            while len(self._entries) > _MAX_ANSWERS:
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
