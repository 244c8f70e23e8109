"""The result of a check."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """The outcome of a check. BROKEN makes the command fail."""

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
    """The result of a check that found nothing wrong."""
    return Check(name, State.OK, found)


def warning(name: str, found: str, hint: str) -> Check:
    """The result of a check that found something which works, but perhaps not as intended."""
    return Check(name, State.WARNING, found, hint)


def broken(name: str, found: str, hint: str) -> Check:
    """The result of a check that found why points cannot arrive."""
    return Check(name, State.BROKEN, found, hint)


def skipped(name: str, found: str) -> Check:
    """The result of a check that could not be made."""
    return Check(name, State.SKIPPED, found)
