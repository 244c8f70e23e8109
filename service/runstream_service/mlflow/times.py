"""Times in the requests of MLflow's clients: milliseconds since 1970, or by mistake another unit."""

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
    """A time in milliseconds. A time after January 1978 that came in microseconds or nanoseconds is recognised by its
    size, since as milliseconds it would be after the year 9999."""
    if number <= MAX_TIMESTAMP_MS:
        return number
    return number // 1_000 if number <= 1_000 * MAX_TIMESTAMP_MS else number // 1_000_000


def to_us(number: int, field: str) -> int:
    """A time of a run in microseconds since 1970. Raises MlflowError if it is before the year 1."""
    ms = to_ms(number)
    # The driver treats the first microsecond as minus infinity.
    if ms <= MIN_TIMESTAMP_MS:
        raise invalid(
            f"Invalid value {number} for parameter '{field}' supplied: it is before the year 1. Times are in "
            "milliseconds since 1970."
        )
    return ms * 1_000


class SecondsWarning:
    """Warns, at most once a minute, about metrics whose times seem to be in seconds. They are stored unchanged, as of
    January 1970, since MLflow does so and the caller may intend it; but a retention period deletes them at once."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def check(self, run_id: UUID, time_ms: int) -> None:
        """Checks one time of a request, since its other times have the same unit."""
        now_s = time.time()
        # The last year in seconds is, read as milliseconds, a few hours of one day in January 1970.
        if not now_s - 366 * _DAY_S <= time_ms <= now_s + _DAY_S or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _WARNING_EVERY_S
        log.warning(
            "Metrics have times in seconds and are stored as of January 1970: MLflow's times are in milliseconds",
            action="times_in_seconds",
            run_id=run_id.hex,
            given=time_ms,
        )
