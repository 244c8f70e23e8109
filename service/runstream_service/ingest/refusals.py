"""Points that will never be stored: the reason, how many, and an example as text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why a point was refused. The value is the label in metrics; the wire has the same names in upper case."""

    KEY_EMPTY = "key_empty"
    KEY_TOO_LONG = "key_too_long"
    KEY_CONTROL_CHARACTER = "key_control_character"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    TOO_MANY_SERIES = "too_many_series"
    BATCH_TOO_LARGE = "batch_too_large"
    DATABASE = "database"


@dataclass(slots=True)
class Refusal:
    """`points` points refused for one reason. `example` describes one of them, for the log of the client."""

    reason: Reason
    points: int
    example: str


def add_up(into: dict[Reason, Refusal], refusals: list[Refusal]) -> None:
    """Add `refusals` to the sums in `into`, by reason. The first example of each reason stays."""
    for refusal in refusals:
        known = into.get(refusal.reason)
        if known is None:
            into[refusal.reason] = Refusal(refusal.reason, refusal.points, refusal.example)
        else:
            known.points += refusal.points
