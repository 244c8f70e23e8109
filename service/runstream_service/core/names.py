"""Rules for the names that callers choose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from uuid import UUID

from runstream_service.errors.core import InvalidField

MAX_KEY_CHARACTERS = 250
MAX_ENTRIES = 1_000

# Unicode category Cc, which is exactly these (https://www.unicode.org/reports/tr44/#General_Category_Values).
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# PostgreSQL and UTF-8 cannot represent these. Lone surrogates come from escapes such as \ud800 in JSON.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class KeyProblem(Enum):
    """What is wrong with the key of a metric, param or tag. The value is the end of a message."""

    EMPTY = "is empty; a key has 1 to 250 characters"
    TOO_LONG = "has more than 250 characters"
    CONTROL_CHARACTER = "has a control character (such as NUL or a newline)"


def key_problem(key: str) -> KeyProblem | None:
    """What is wrong with the key of a metric, param or tag; None if nothing is."""
    if not key:
        return KeyProblem.EMPTY
    if len(key) > MAX_KEY_CHARACTERS:
        return KeyProblem.TOO_LONG
    if _CONTROL.search(key):
        return KeyProblem.CONTROL_CHARACTER
    return None


def is_storable(text: str) -> bool:
    """Whether a database can keep a text: without NUL characters and lone surrogates."""
    return _UNSTORABLE.search(text) is None


def is_run_id(text: str) -> bool:
    """Whether a run could have this id: 32 lower-case hex digits."""
    return _RUN_ID.fullmatch(text) is not None


def parse_run_id(text: str, *, field: str) -> UUID:
    """A run id as callers write it: 32 lower-case hex digits.

    Raises:
        InvalidField: the text is anything else. `field`: the field of the request that has it.
    """
    if not _RUN_ID.fullmatch(text):
        raise InvalidField(
            f"{field}: {text[:80]!r} is not a run id; a run id has 32 lower-case hex digits, as CreateRun returns it",
            field=field,
        )
    return UUID(int=int(text, 16))  # a quarter of the time of UUID(hex=text), which would check it again


def check_name(name: str, *, field: str, max_characters: int) -> str:
    """A mandatory name in one line: 1 to `max_characters` characters, no control characters.

    Raises:
        InvalidField: it is anything else.
    """
    if not name:
        raise InvalidField(f"{field}: is empty", field=field)
    control = _CONTROL.search(name)
    if control is not None:
        raise InvalidField(f"{field}: {_control_character(name, control.start())}", field=field)
    return check_text(name, field=field, max_characters=max_characters)


def _control_character(name: str, at: int) -> str:
    """The end of a message about a control character; usually it is the line ending of a name that was read from a
    file."""
    if not _CONTROL.search(name.strip()):
        return f"begins or ends with the control character {name[at]!r}, such as the end of a line; remove it"
    return f"has the control character {name[at]!r} after {name[max(0, at - 40) : at]!r}; names are one line of text"


def check_text(text: str, *, field: str, max_characters: int) -> str:
    """A text that may be empty: up to `max_characters` characters, no NUL and no lone surrogates.

    Raises:
        InvalidField: it is anything else.
    """
    if len(text) > max_characters:
        raise InvalidField(
            f"{field}: has {len(text):,} characters; at most {max_characters:,} are allowed", field=field
        )
    return check_storable(text, field=field)


def check_storable(text: str, *, field: str) -> str:
    """A text of any length that a search may contain: no NUL and no lone surrogates.

    Raises:
        InvalidField: it contains one.
    """
    if not is_storable(text):
        raise InvalidField(f"{field}: has a NUL character or a lone surrogate", field=field)
    return text


def check_entries(entries: Mapping[str, str], *, field: str, max_value_characters: int) -> dict[str, str]:
    """Params or tags, sorted by key: at most 1,000, with valid keys and storable values.

    Raises:
        InvalidField: one of them is anything else; the message names its key.
    """
    if len(entries) > MAX_ENTRIES:
        raise InvalidField(f"{field}: has {len(entries):,} entries; at most {MAX_ENTRIES:,} are allowed", field=field)
    for key, value in entries.items():
        if (problem := key_problem(key)) or not is_storable(key):
            what = problem.value if problem else "has a lone surrogate"
            raise InvalidField(f"{field}: the key {key[:80]!r} {what}", field=field)
        if len(value) > max_value_characters:
            raise InvalidField(
                f"{field}: the value of {key!r} has {len(value):,} characters; allowed are {max_value_characters:,}",
                field=field,
            )
        if not is_storable(value):
            raise InvalidField(f"{field}: the value of {key!r} has a NUL character or a lone surrogate", field=field)
    return dict(sorted(entries.items()))
