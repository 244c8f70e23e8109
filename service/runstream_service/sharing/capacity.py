"""A bound of which some part always stays free for workspaces that hold little."""

from __future__ import annotations

# A workspace may hold at most this many times as much as is free. So if there are several workspaces, a single one may
# hold 8/9 of all, two of them 8/17 each, ten 8/81 each; and 1/9, 1/17 or 1/81 is left for the next one that comes.
_TIMES_FREE = 8


class SharedCapacity:
    """Counts how much of a capacity each workspace holds. As long as there is only one workspace, it may hold all."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        # Whether there has ever been more than one workspace: another one may come again.
        self.is_shared = False
        self._first: int | None = None
        self._by_workspace: dict[int, int] = {}

    def held_by(self, workspace_id: int) -> int:
        """How much a workspace holds."""
        return self._by_workspace.get(workspace_id, 0)

    @property
    def workspaces(self) -> list[int]:
        """The workspaces that hold anything."""
        return list(self._by_workspace)

    def fits(self, workspace_id: int, amount: int) -> bool:
        """Whether a workspace may take `amount` more. More than the whole capacity fits if nothing is held. The first
        amount of a workspace fits if that much is free."""
        if workspace_id != self._first and not self.is_shared:
            self.is_shared = self._first is not None
            self._first = workspace_id
        free = self.capacity - self.held
        if amount > free:
            return self.held == 0
        if not self.is_shared:
            return True
        own = self._by_workspace.get(workspace_id, 0)
        return own == 0 or own + amount <= _TIMES_FREE * free

    def take(self, workspace_id: int, amount: int) -> None:
        """Count `amount` more for a workspace, without a check."""
        if amount:
            self.held += amount
            self._by_workspace[workspace_id] = self._by_workspace.get(workspace_id, 0) + amount

    def try_take(self, workspace_id: int, amount: int = 1) -> bool:
        """Take `amount` if it fits. Returns whether it did."""
        if not self.fits(workspace_id, amount):
            return False
        self.take(workspace_id, amount)
        return True

    def release(self, workspace_id: int, amount: int = 1) -> None:
        """Count `amount` less for a workspace."""
        if amount:
            self.held -= amount
            left = self._by_workspace[workspace_id] - amount
            if left:
                self._by_workspace[workspace_id] = left
            else:
                del self._by_workspace[workspace_id]  # most workspaces hold nothing, and take no memory
