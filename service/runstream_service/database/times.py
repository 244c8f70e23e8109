"""Converts times between microseconds since 1970 (UTC), as callers use them, and the datetimes of the driver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runstream_service.errors.core import InvalidField

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(unix_us: int, *, field: str) -> datetime:
    """The datetime of a time in microseconds since 1970.

    Raises:
        InvalidField: before year 1 or after year 9999. Also the first and the last microsecond of these years, which
        the driver treats as minus and plus infinity.
    """
    try:
        time = EPOCH + timedelta(microseconds=unix_us)
    except OverflowError:
        time = _LAST
    if not _FIRST < time < _LAST:
        raise InvalidField(f"{field}: {unix_us} is before year 1 or after year 9999", field=field)
    return time


def to_datetime_or_none(unix_us: int, *, field: str) -> datetime | None:
    """The datetime of a time in microseconds since 1970; None for 0, which means "no time". Raises InvalidField, as
    `to_datetime` does."""
    return to_datetime(unix_us, field=field) if unix_us else None


def to_unix_us(time: datetime) -> int:
    """A datetime as microseconds since 1970, exact also before 1970."""
    return (time - EPOCH) // _MICROSECOND


def to_unix_ms(time: datetime) -> int:
    """A datetime as milliseconds since 1970, which MLflow uses, rounded down."""
    return to_unix_us(time) // 1_000
