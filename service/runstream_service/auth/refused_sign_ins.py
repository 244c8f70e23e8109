"""Notes refused sign-ins in the audit log, up to a rate: whoever tries tokens must not fill the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from runstream_service.core import audit
from runstream_service.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from runstream_service.storage.database import Database

log = structlog.get_logger()

_NOTED_PER_MINUTE = 10


class RefusedSignIns:
    """Of this process. Those above the rate are counted, and the next one that is noted tells how many they were."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._minute_began = clock()
        self._noted = self._left_out = 0

    async def note(self, principal: str, reason: str, **details: str) -> None:
        """Records one that was refused."""
        now = self._clock()
        if now - self._minute_began >= 60:
            self._minute_began, self._noted = now, 0
        if self._noted >= _NOTED_PER_MINUTE:
            self._left_out += 1
            return
        self._noted += 1
        left_out, self._left_out = self._left_out, 0
        try:
            await audit.record_of(
                self._database,
                None,
                principal,
                "sign_in_refused",
                principal,
                reason=reason,
                left_out=left_out,
                **details,
            )
        except DatabaseUnavailable as error:
            log.warning("Could not note a refused sign-in", action="audit_failed", error=error.message)
