"""Rules for params and tags, the same as in the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runstream._columns import has_control_character, is_utf8, shown_key
from runstream._values import describe

_MAX_KEY = 250
MAX_PARAM = 6_000
_MAX_TAG = 8_000
MAX_ENTRIES = 1_000  # the most that the service accepts in one call
# The most text in one record of a journal: as JSON it may be several times as long, and a record has at most 1 MiB.
RECORD_BYTES = 64 * 1024


def validate(kind: str, entries: object, refuse: Callable[[Exception], None]) -> dict[str, str]:
    """Returns the valid params or tags, with values as strings; calls `refuse` with a TypeError or ValueError for each
    invalid one. `kind` is "param" or "tag"."""
    if not isinstance(entries, Mapping):
        refuse(TypeError(f"{kind}s must be a mapping, not {type(entries).__name__}"))
        return {}
    good: dict[str, str] = {}
    for key, value in entries.items():
        try:
            good[_validated_key(kind, key)] = _validated_value(kind, key, value)
        except (TypeError, ValueError) as error:  # noqa: PERF203 (each entry on its own)
            refuse(error)
    return good


def validate_all(kind: str, entries: object) -> dict[str, str]:
    """As `validate`, but raises the TypeError or ValueError of the first invalid one."""

    def refuse(error: Exception) -> None:
        raise error

    return validate(kind, entries, refuse)


def text_bytes(key: str, value: str) -> int:
    """The length of key and value in UTF-8."""
    return len(key.encode()) + len(value.encode())


def split(entries: Mapping[str, str], max_bytes: int, entry_bytes: int = 0) -> Iterator[dict[str, str]]:
    """Divides entries into pieces, in their order. A piece has at most MAX_ENTRIES, and at most `max_bytes`, which
    counts the text and `entry_bytes` for each entry; one with a single entry may be larger."""
    piece: dict[str, str] = {}
    size = 0
    for key, value in entries.items():
        more = text_bytes(key, value) + entry_bytes
        if piece and (len(piece) == MAX_ENTRIES or size + more > max_bytes):
            yield piece
            piece, size = {}, 0
        piece[key] = value
        size += more
    if piece:
        yield piece


def check_name(what: str, name: object) -> str:
    """Returns the name of an experiment or run, "" for None. Raises TypeError or ValueError if it is not a string of 1
    to 500 characters without control characters; `what` is the name of the argument."""
    if name is None:
        return ""
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a string, not {type(name).__name__}")
    if not 1 <= len(name) <= 500 or has_control_character(name) or not is_utf8(name):
        raise ValueError(f"{what} {name!r:.80}: expected 1 to 500 characters, no control characters")
    return name


def _validated_key(kind: str, key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{kind} {shown_key(key)!r}: its key must be a string, not {type(key).__name__}")
    plain = str.__str__(key)  # a subclass may define its own hash and repr
    if not 1 <= len(plain) <= _MAX_KEY or has_control_character(plain) or not is_utf8(plain):
        raise ValueError(f"{kind} {plain!r:.80}: its key must have 1 to {_MAX_KEY} characters, no control characters")
    return plain


def _validated_value(kind: str, key: str, value: Any) -> str:
    try:
        text = str.__str__(str(value))
    except Exception as error:
        words = f"{kind} {shown_key(key)!r}: its value cannot become a string: {describe(error)}"
        raise TypeError(words) from error
    limit = MAX_PARAM if kind == "param" else _MAX_TAG
    if len(text) > limit or "\0" in text or not is_utf8(text):
        raise ValueError(f"{kind} {shown_key(key)!r}: its value has {len(text)} characters; at most {limit}, no NUL")
    return text
