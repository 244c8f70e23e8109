"""Who waits for something that is bounded, by workspace."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """The next turn is of the workspace that holds the least (`held_by`); among several that hold the same, of the one
    whose last turn was longest ago. Within a workspace, turns come in the order of arrival.

    So a workspace has as many turns as another one, however many wait for it.
    """

    def __init__(self, held_by: Callable[[int], int]) -> None:
        self._held_by = held_by
        # Those whose last turn was longest ago come first.
        self._lines: OrderedDict[int, OrderedDict[T, None]] = OrderedDict()
        self._paused: dict[int, OrderedDict[T, None]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waits(self, workspace_id: int) -> bool:
        """Whether somebody waits for this workspace."""
        return workspace_id in self._lines or workspace_id in self._paused

    def join(self, workspace_id: int, waiter: T) -> None:
        """It waits, behind all others of its workspace."""
        lines = self._paused if workspace_id in self._paused else self._lines
        lines.setdefault(workspace_id, OrderedDict())[waiter] = None
        self._length += 1

    def pause(self, workspace_id: int) -> None:
        """It has no turn until `resume`."""
        self._paused[workspace_id] = self._lines.pop(workspace_id, OrderedDict())

    def resume(self, workspace_id: int) -> None:
        """It has turns again."""
        if line := self._paused.pop(workspace_id):
            self._lines[workspace_id] = line

    def is_paused(self, workspace_id: int) -> bool:
        """Whether it has no turn now."""
        return workspace_id in self._paused

    def leave(self, workspace_id: int, waiter: T) -> bool:
        """It does not wait any more; returns whether it did."""
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
        """Whose turn it is, and for which workspace; it stays in the line."""
        if not self._lines:
            return None
        workspace_id = next(iter(self._lines)) if len(self._lines) == 1 else min(self._lines, key=self._held_by)
        return workspace_id, next(iter(self._lines[workspace_id]))

    def had_turn(self, workspace_id: int, waiter: T, *, waits_again: bool = False) -> None:
        """Its turn is over: it leaves, or goes to the end of the line of its workspace."""
        line = self._lines[workspace_id]
        if waits_again:
            line.move_to_end(waiter)
        else:
            self.leave(workspace_id, waiter)
        if line:
            self._lines.move_to_end(workspace_id)

    def last_of_longest(self) -> tuple[int, int, T]:
        """The workspace for which most wait, how many they are, and the last one of them, which has waited least."""
        workspace_id = max(self._lines, key=lambda one: len(self._lines[one]))
        line = self._lines[workspace_id]
        return workspace_id, len(line), next(reversed(line))

    def length_of(self, workspace_id: int) -> int:
        """How many wait for a workspace."""
        return len(self._lines.get(workspace_id) or self._paused.get(workspace_id) or ())
