"""Times of MLflow's callers: milliseconds since 1970, or times in another unit by mistake."""

from __future__ import annotations

import time
from uuid import UUID

import structlog

from runstream_service.http.mlflow_errors import invalid
from runstream_service.ingest.limits import MAX_TIME_UNIX_US, MIN_TIME_UNIX_US

log = structlog.get_logger()

_DAY_S = 86_400
_WARNING_EVERY_S = 60
# The end of the year 9999, and the beginning of the year 1.
MAX_TIMESTAMP_MS = MAX_TIME_UNIX_US // 1_000
MIN_TIMESTAMP_MS = MIN_TIME_UNIX_US // 1_000


def to_ms(number: int) -> int:
    """A time in milliseconds. A time in microseconds or nanoseconds is recognised by its size if it is after January
    1978: as milliseconds it would be after the year 9999."""
    if number <= MAX_TIMESTAMP_MS:
        return number
    return number // 1_000 if number <= 1_000 * MAX_TIMESTAMP_MS else number // 1_000_000


def to_us(number: int, field: str) -> int:
    """A time in microseconds, for the times of a run. Raises MlflowError if it is before the year 1."""
    ms = to_ms(number)
    # The driver treats the first microsecond as minus infinity.
    if ms <= MIN_TIMESTAMP_MS:
        raise invalid(
            f"Invalid value {number} for parameter '{field}' supplied: it is before the year 1. Times are in "
            "milliseconds since 1970."
        )
    return ms * 1_000


class SecondsWarning:
    """Warns, at most once a minute, about a metric whose time is in seconds. It is stored unchanged, as of January
    1970, since MLflow does so and the caller may intend it; but a retention would delete it at once."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def look_at(self, run_id: UUID, time_ms: int) -> None:
        """Checks one time of a request; the others have the same unit."""
        now_s = time.time()
        # As milliseconds, these are a few hours of one day in 1970.
        if not now_s - 366 * _DAY_S <= time_ms <= now_s + _DAY_S or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _WARNING_EVERY_S
        log.warning(
            "Metrics come with times in seconds, and are stored as of January 1970: MLflow's are in milliseconds",
            action="times_in_seconds",
            run_id=run_id.hex,
            given=time_ms,
        )
