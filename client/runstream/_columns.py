"""Columns of points, the table of a handle's series, and the rules for their keys."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

POINT_BYTES = 28  # in columns, in the journal and on the wire: 4 + 8 + 8 + 8


class Columns:
    """The points of the next batch, in columns. Only the recorder's thread uses it."""

    def __init__(self, logged_s: float = 0.0) -> None:
        self.logged_s = logged_s  # by the monotonic clock; none of the points was logged before
        self.series = array("I")
        self.steps = array("q")
        self.times = array("q")
        self.values = array("d")

    def __len__(self) -> int:
        return len(self.values)

    def append(self, series_index: int, step: int, time_unix_us: int, value: float) -> None:
        """Adds a point; all four are in range."""
        self.series.append(series_index)
        self.steps.append(step)
        self.times.append(time_unix_us)
        self.values.append(value)

    def extend(
        self, series: Iterable[int], steps: Iterable[int], times: Iterable[int], values: Iterable[float]
    ) -> None:
        """Adds points; all columns are equally long and in range."""
        self.series.extend(series)
        self.steps.extend(steps)
        self.times.extend(times)
        self.values.extend(values)


class SeriesTable:
    """The metric keys of a handle, and their indexes, which are never reused. Bound: `max_series` keys."""

    def __init__(self, max_series: int = 100_000) -> None:
        self.max_series = max_series
        self._indexes: dict[str, int] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def index_of(self, key: str) -> int | None:
        """The index of a key; None if it is not in the table."""
        return self._indexes.get(key)

    def indexes_of(self, keys: Iterable[str]) -> list[int] | None:
        """The indexes of these keys; None if any of them is not in the table."""
        try:
            return list(map(self._indexes.__getitem__, keys))
        except KeyError:
            return None

    def add(self, key: str) -> int:
        """Adds a new key and returns its index. The caller has checked `key_error(key)` and that there is room."""
        index = self._indexes[key] = len(self._keys)
        self._keys.append(key)
        return index

    def keys(self, first: int, count: int) -> list[str]:
        """At most `count` keys from this index on, in their order."""
        return self._keys[first : first + count]


def key_error(key: object) -> tuple[str, str] | None:
    """Why a metric key is refused, as (reason, text for a warning); None if it is valid. The service has the same
    rules."""
    if not isinstance(key, str):
        return key_not_a_string(key)
    if not key:
        return "key_empty", "is an empty key"
    if len(key) > 250:
        return "key_too_long", f"is a key of {len(key)} characters; at most 250"
    if has_control_character(key):
        return "key_control_character", "is a key with a control character"
    if not is_utf8(key):
        return "key_not_utf8", "is a key that has no UTF-8 form"
    return None


def key_not_a_string(key: object) -> tuple[str, str]:
    """The refusal of a key that is not a string, in the form of `key_error`."""
    return "key_not_a_string", f"is a key of type {type(key).__name__}, not a string"


def shown_key(key: object) -> str:
    """A key as warnings show it. An object that is no string is not converted: that may raise, or read a device."""
    return str.__str__(key) if isinstance(key, str) else f"<{type(key).__name__}>"


def has_control_character(text: str) -> bool:
    """Whether a text has a control character as the service defines them: C0, DEL or C1."""
    return not text.isprintable() and any(ch < " " or "\x7f" <= ch <= "\x9f" for ch in text)


def is_utf8(text: str) -> bool:
    """False for lone surrogates, which no protobuf string can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
