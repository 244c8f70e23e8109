"""What a check says."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """How it stands. BROKEN makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line of the table. `hint`: what to do; empty if there is nothing to do."""

    name: str
    state: State
    found: str
    hint: str = ""


def ok(name: str, found: str) -> Check:
    """Nothing to do."""
    return Check(name, State.OK, found)


def warning(name: str, found: str, hint: str) -> Check:
    """It works, but perhaps not as wanted."""
    return Check(name, State.WARNING, found, hint)


def broken(name: str, found: str, hint: str) -> Check:
    """Points do not arrive like this."""
    return Check(name, State.BROKEN, found, hint)


def skipped(name: str, found: str) -> Check:
    """It could not be checked."""
    return Check(name, State.SKIPPED, found)
