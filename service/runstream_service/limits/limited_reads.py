"""The limit of concurrent reads of a workspace."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from runstream_service.sharing.current import current_workspace
from runstream_service.sharing.slots import FairSlots, NoSlot

if TYPE_CHECKING:
    from runstream_service.limits.workspace_limits import WorkspaceLimits

_MAX_WAITING, _WAIT_S = 100, 30.0


class LimitedReads:
    """Bounds the concurrent reads of each workspace that has such a limit; further reads wait. Used by one event
    loop."""

    def __init__(self, limits: WorkspaceLimits) -> None:
        self._limits = limits
        self._slots: dict[int, FairSlots] = {}  # of workspaces that have a limit

    @contextlib.asynccontextmanager
    async def slot(self, *, wait_s: float = _WAIT_S) -> AsyncIterator[None]:
        """A slot until the end of the block, for the workspace of the current task. Raises LimitReached if there is
        none within `wait_s`, or if too many reads wait."""
        workspace_id = current_workspace()
        self._limits.used(workspace_id)
        async with contextlib.AsyncExitStack() as stack:
            if at_a_time := self._limits.part_of(workspace_id).concurrent_reads:
                slots = self._slots.setdefault(workspace_id, FairSlots("reads", at_a_time, max_waiting=_MAX_WAITING))
                slots.resize(at_a_time)
                try:
                    await stack.enter_async_context(slots.slot(wait_s=wait_s))
                except NoSlot as error:
                    raise self._limits.reached("concurrent_reads", workspace_id, retry_after_s=2.0) from error
            yield
