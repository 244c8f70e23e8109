"""Chooses the writer of each batch and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.ingest.producer import PendingBatch
from runstream_service.ingest.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.ingest.backpressure import PointBudget
    from runstream_service.ingest.group import Pending
    from runstream_service.ingest.writer import QuietWriter
    from runstream_service.sharing.urgent import UrgentWork

# Writes over HTTP share the first writer while it has at most this many points, waiting or being committed. A larger
# group takes noticeably longer to commit.
SHARED_GROUP_POINTS = 1_000
# A workspace is quiet while it has at most QUIET_POINTS in the queue, and all others together more than OTHERS_POINTS.
QUIET_POINTS = 16_384
OTHERS_POINTS = 4_096


@dataclass(slots=True)
class _Route:
    """The writer of all items with one `kept_together`, as long as any of them is under way."""

    writer: Writer
    under_way: int = 0


class WriterRouter:
    """Chooses the writer of each item.

    The producer of a batch determines its writer. Writes over HTTP go to the first writer while it has little to do:
    callers that wait for their answers then share groups, and a commit takes as long for eight writes as for one.
    (Measured with 8 callers of 50 points each: 1.3 times the points of two writers, whose groups are half as large.)
    Under more load, the run determines the writer.

    While others fill the queue, a quiet workspace does not wait behind their points: it has a writer with a connection
    of its own, and small groups.

    All batches of a producer that are under way are with one writer, so that they are committed in order. So are all
    writes of a run: then only one group at a time holds the lock of the run, and a deletion of the run gets the lock
    between two groups.
    """

    def __init__(self, writers: Sequence[Writer], quiet: QuietWriter, budget: PointBudget, urgent: UrgentWork) -> None:
        self.writers: Sequence[Writer] = (*writers, quiet)
        self._usual = writers
        self._quiet = quiet
        self._budget = budget
        self._urgent = urgent
        self._routes: dict[object, _Route] = {}

    def submit(self, item: Pending) -> None:
        """Hand an item to its writer."""
        together = item.kept_together
        route = self._routes.get(together)
        if route is None:
            route = self._routes[together] = _Route(self._choose(item))
        route.under_way += 1
        if route.writer is self._quiet:
            self._urgent.begin(id(item))
        route.writer.submit(item)

    def ended(self, item: Pending) -> None:
        """Called when the outcome of an item is known: it is not under way any more."""
        together = item.kept_together
        route = self._routes[together]
        if route.writer is self._quiet:
            self._urgent.end(id(item))
        route.under_way -= 1
        if not route.under_way:
            del self._routes[together]

    def _choose(self, item: Pending) -> Writer:
        usual = self._usual_writer(item)
        if self._budget.is_shared and self._is_quiet(item.workspace_id) and self._quiet.points < usual.points:
            return self._quiet
        return usual

    def _usual_writer(self, item: Pending) -> Writer:
        if isinstance(item, PendingBatch):
            return self._usual[item.producer.producer_id.int % len(self._usual)]
        first = self._usual[0]
        if first.points + item.points <= SHARED_GROUP_POINTS:
            return first
        return self._usual[item.run_id.int % len(self._usual)]

    def _is_quiet(self, workspace_id: int) -> bool:
        own = self._budget.waiting_points_of(workspace_id)
        return own <= QUIET_POINTS and self._budget.waiting_points - own > OTHERS_POINTS
