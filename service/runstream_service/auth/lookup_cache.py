"""Remembers for two seconds what was looked up about credentials, so that most calls need no query."""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from runstream_service.core.caller import Caller
from runstream_service.errors.core import Forbidden, NotConnected, Unauthenticated, WorkspaceNotFound

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

# The result of a look-up of credentials: the caller, or why they are refused.
Found: TypeAlias = Caller | Unauthenticated | Forbidden | WorkspaceNotFound

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Together with CHECK_EVERY_S of token_authenticator.py, less than the five seconds within which a revoked token ends.
REMEMBERED_S = 2.0
# Above it, the oldest results are forgotten.
MAX_REMEMBERED = 20_000


class LookupCache(Generic[K, V]):
    """Remembers results of `look_up` for two seconds; errors that it raises are not remembered. Until `use` is called,
    `get` raises NotConnected."""

    def __init__(self, look_up: Callable[[Database, K], Awaitable[V]]) -> None:
        self._look_up = look_up
        self._database: Database | None = None
        self._remembered: OrderedDict[K, tuple[float, V]] = OrderedDict()  # oldest first
        self._under_way: dict[K, asyncio.Task[V]] = {}

    def use(self, database: Database) -> None:
        """Looks things up in this database from now on."""
        self._database = database

    async def get(self, key: K) -> V:
        """The result for a key, from memory or by `look_up`. Raises NotConnected, and what `look_up` raises."""
        remembered = self._remembered.get(key)
        if remembered is not None and asyncio.get_running_loop().time() < remembered[0]:
            return remembered[1]
        # One look-up at a time of a key: a thousand ranks that start together have the same token.
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._store(key))
            task.add_done_callback(functools.partial(self._looked_up, key))
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Forgets all results: something has changed, so everything is looked up again."""
        self._remembered.clear()

    def _looked_up(self, key: K, task: asyncio.Task[V]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # marks it as handled, in case no call waits for it any more

    async def _store(self, key: K) -> V:
        if self._database is None:
            raise NotConnected("the service is starting: its database is not ready")
        found = await self._look_up(self._database, key)
        self._remembered[key] = (asyncio.get_running_loop().time() + REMEMBERED_S, found)
        self._remembered.move_to_end(key)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return found


def caller_or_refusal(found: Found) -> Caller:
    """The caller. Raises a refusal as a new exception, so that each call has a traceback of its own."""
    if isinstance(found, Caller):
        return found
    raise type(found)(found.message, field=found.field, subject=found.subject)
