"""Rules for the names that callers choose."""

from __future__ import annotations

import re
from enum import Enum
from uuid import UUID

from runstream_service.core.errors import InvalidField

MAX_KEY_CHARACTERS = 250

# Unicode category Cc, which is exactly these (https://www.unicode.org/reports/tr44/#General_Category_Values).
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class KeyProblem(Enum):
    """What is wrong with a key of a metric, param or tag; the value says it in words."""

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


def parse_run_id(text: str, *, field: str) -> UUID:
    """A run id as callers write it: 32 lower-case hex digits.

    Raises:
        InvalidField: it is anything else; `field` is the request's field that held it.
    """
    if not _RUN_ID.fullmatch(text):
        raise InvalidField(
            f"{field}: {text[:80]!r} is not a run id; it has 32 lower-case hex digits, as CreateRun answers them",
            field=field,
        )
    return UUID(hex=text)
