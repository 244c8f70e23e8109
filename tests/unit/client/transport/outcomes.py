"""Checks that a journal has been sent, and faults that happen once."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from tests.unit.client.transport.conftest import until
from tests.unit.client.transport.journals import Trainer

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def once(event: str, number: int, error: Exception) -> Callable[[str, int], None]:
    """A fault for the first time that `event` happens to `number`."""
    done: list[int] = []

    def fault(what: str, which: int) -> None:
        if what == event and which == number and not done:
            done.append(which)
            raise error

    return fault


def settled(trainer: Trainer, acknowledged: int | None = None) -> None:
    """Waits until everything that was appended is settled; checks the counts."""
    until(lambda: trainer.position().records == trainer.journal.sequence)
    position = trainer.position()
    expected = trainer.logged if acknowledged is None else acknowledged
    assert position.acknowledged_points == expected, position
    assert position.acknowledged_points + sum(position.refused.values()) == trainer.logged


def texts(trainer: Trainer) -> str:
    return "\n".join(notice["text"] for notice in trainer.position().notices)


def steps(count: int) -> list[float]:
    """The values of `count` points from step 0 on: each value is the step."""
    return [float(step) for step in range(count)]
