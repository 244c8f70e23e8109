"""A bound of which some part always stays free for workspaces that hold little."""

from __future__ import annotations

# A workspace may hold at most this many times of what is free. So a single one gets 8/9 of all, two of them 8/17 each,
# ten 8/81 each, and a ninth, a seventeenth, an 81st is left for the next one that comes.
_TIMES_FREE = 8


class SharedCapacity:
    """Counts what is held, by workspace. As long as there is only one workspace, it may hold all."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        # Whether there has been more than one workspace: what has come once may come again.
        self.is_shared = False
        self._first: int | None = None
        self._by_workspace: dict[int, int] = {}

    def held_by(self, workspace_id: int) -> int:
        """How much a workspace holds."""
        return self._by_workspace.get(workspace_id, 0)

    @property
    def workspaces(self) -> list[int]:
        """Those that hold any."""
        return list(self._by_workspace)

    def fits(self, workspace_id: int, amount: int) -> bool:
        """Whether a workspace may take so much more. A piece that is larger than the whole capacity fits if nothing is
        held, and the first piece of a workspace fits into all that is free."""
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
        """A workspace holds so much more."""
        if amount:
            self.held += amount
            self._by_workspace[workspace_id] = self._by_workspace.get(workspace_id, 0) + amount

    def try_take(self, workspace_id: int, amount: int = 1) -> bool:
        """Take it if it fits; returns whether it did."""
        if not self.fits(workspace_id, amount):
            return False
        self.take(workspace_id, amount)
        return True

    def release(self, workspace_id: int, amount: int = 1) -> None:
        """A workspace holds so much less."""
        if amount:
            self.held -= amount
            left = self._by_workspace[workspace_id] - amount
            if left:
                self._by_workspace[workspace_id] = left
            else:
                del self._by_workspace[workspace_id]  # the many that hold nothing take no memory
