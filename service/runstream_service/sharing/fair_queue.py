"""A queue for something that is bounded, in which workspaces take turns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """The workspace that holds the least (`held_by`) is next; of several that hold the same, the one whose last turn
    was longest ago. Within a workspace, waiters come in the order of arrival.

    So all workspaces have equally many turns, however many waiters one of them has.
    """

    def __init__(self, held_by: Callable[[int], int]) -> None:
        self._held_by = held_by
        # The waiters of each workspace. The workspace whose last turn was longest ago comes first.
        self._lines: OrderedDict[int, OrderedDict[T, None]] = OrderedDict()
        self._paused: dict[int, OrderedDict[T, None]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waits(self, workspace_id: int) -> bool:
        """Whether a workspace has waiters, or is paused."""
        return workspace_id in self._lines or workspace_id in self._paused

    def join(self, workspace_id: int, waiter: T) -> None:
        """Add a waiter, behind all others of its workspace."""
        lines = self._paused if workspace_id in self._paused else self._lines
        lines.setdefault(workspace_id, OrderedDict())[waiter] = None
        self._length += 1

    def pause(self, workspace_id: int) -> None:
        """Give a workspace no turns until `resume`."""
        self._paused[workspace_id] = self._lines.pop(workspace_id, OrderedDict())

    def resume(self, workspace_id: int) -> None:
        """Let a workspace take turns again."""
        if line := self._paused.pop(workspace_id):
            self._lines[workspace_id] = line

    def is_paused(self, workspace_id: int) -> bool:
        """Whether a workspace has no turns now."""
        return workspace_id in self._paused

    def leave(self, workspace_id: int, waiter: T) -> bool:
        """Remove a waiter. Returns whether it was waiting."""
        lines = self._paused if workspace_id in self._paused else self._lines
        line = lines.get(workspace_id)
        if line is None or waiter not in line:
            return False
        del line[waiter]
        self._length -= 1
        if not line and lines is self._lines:
            del lines[workspace_id]
        return True

    def next(self) -> tuple[int, T] | None:
        """The workspace and the waiter whose turn is next; None if no one waits. The waiter stays in the queue."""
        if not self._lines:
            return None
        workspace_id = next(iter(self._lines)) if len(self._lines) == 1 else min(self._lines, key=self._held_by)
        return workspace_id, next(iter(self._lines[workspace_id]))

    def had_turn(self, workspace_id: int, waiter: T, *, waits_again: bool = False) -> None:
        """End the turn of a waiter: it leaves, or with `waits_again` goes behind all others of its workspace."""
        line = self._lines[workspace_id]
        if waits_again:
            line.move_to_end(waiter)
        else:
            self.leave(workspace_id, waiter)
        if line:
            self._lines.move_to_end(workspace_id)

    def last_of_longest(self) -> tuple[int, int, T]:
        """The workspace with most waiters, how many it has, and the last of them, which has waited least."""
        workspace_id = max(self._lines, key=lambda one: len(self._lines[one]))
        line = self._lines[workspace_id]
        return workspace_id, len(line), next(reversed(line))

    def length_of(self, workspace_id: int) -> int:
        """How many waiters a workspace has."""
        return len(self._lines.get(workspace_id) or self._paused.get(workspace_id) or ())
