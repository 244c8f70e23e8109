"""Converts times between microseconds since 1970 (UTC), as callers use them, and the datetimes of the driver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runstream_service.errors.core import InvalidField

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(unix_us: int, *, field: str) -> datetime:
    """Raises InvalidField for a time before year 1 or after year 9999.

    It also does for the first and the last microsecond of these years, which the driver treats as minus and plus
    infinity.
    """
    try:
        time = EPOCH + timedelta(microseconds=unix_us)
    except OverflowError:
        time = _LAST
    if not _FIRST < time < _LAST:
        raise InvalidField(f"{field}: {unix_us} is before year 1 or after year 9999", field=field)
    return time


def to_datetime_or_none(unix_us: int, *, field: str) -> datetime | None:
    """The same, but None for 0, which stands for a time that is not given."""
    return to_datetime(unix_us, field=field) if unix_us else None


def to_unix_us(time: datetime) -> int:
    """Exact, even before 1970."""
    return (time - EPOCH) // _MICROSECOND


def to_unix_ms(time: datetime) -> int:
    """Milliseconds as in MLflow, rounded down."""
    return to_unix_us(time) // 1_000
