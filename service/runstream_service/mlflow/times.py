"""Times as MLflow's callers give them: milliseconds since 1970, or what is meant for them."""

from __future__ import annotations

from runstream_service.ingest.limits import MAX_TIME_UNIX_US, MIN_TIME_UNIX_US
from runstream_service.mlflow.errors import invalid

# At the end of the year 9999, and at the beginning of the year 1.
MAX_TIMESTAMP_MS = MAX_TIME_UNIX_US // 1_000
MIN_TIMESTAMP_MS = MIN_TIME_UNIX_US // 1_000


def to_ms(number: int) -> int:
    """A time in milliseconds. One in microseconds or nanoseconds is known by its size, if it is after January 1978: as
    milliseconds it would be after the year 9999."""
    if number <= MAX_TIMESTAMP_MS:
        return number
    return number // 1_000 if number <= 1_000 * MAX_TIMESTAMP_MS else number // 1_000_000


def to_us(number: int, field: str) -> int:
    """The same in microseconds, for the times of a run. Raises MlflowError if it is before the year 1."""
    ms = to_ms(number)
    # The driver takes the first microsecond for minus infinity.
    if ms <= MIN_TIMESTAMP_MS:
        raise invalid(
            f"Invalid value {number} for parameter '{field}' supplied: it is before the year 1. Times are in "
            "milliseconds since 1970."
        )
    return ms * 1_000
