"""The position of a tail: which commits it has sent. It is a PostgreSQL snapshot, as commits do not become visible in
the order of their numbers.

A snapshot sees every transaction below `xmin`, none from `xmax` on, and of those in between the ones that were not
running. Snapshots of one lineage of a database are ordered by time: a later one sees all that an earlier one saw.

A standby that takes over, or a restored database, assigns transaction ids again that the lost part of the history had
used. Commits with such ids would count as sent. So a cursor contains the lineage of its database.
"""

from __future__ import annotations

import bisect
import itertools
import re
from dataclasses import dataclass, replace

from runstream_service.errors.core import InvalidField

_VERSION = b"2;"
# Cursors of earlier releases have no lineage.
_FIRST_VERSION = b"1;"
# lineage ; epoch ; xid and last series of a commit that was sent in part, or nothing ; snapshot
_FORM = re.compile(
    r"(?P<lineage>[0-9a-f]{16});(?P<epoch>\d{1,10});(?:(?P<xid>\d{1,20}),(?P<series>\d{1,19}))?;(?P<snapshot>\d{1,20}:\d{1,20}:[\d,]*)"
)
_NO_LINEAGE = "0" * 16
# Enough for a snapshot with 10,000 running transactions; PostgreSQL has fewer connections.
_MAX_BYTES = 220_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pg_snapshot. `running` is sorted, with xmin <= xid < xmax."""

    xmin: int
    xmax: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Parses the text of a pg_snapshot. Raises ValueError if it is not one."""
        low, high, running = text.split(":")
        xids = tuple(int(xid) for xid in running.split(",")) if running else ()
        xmin, xmax = int(low), int(high)
        ordered = all(one < other for one, other in itertools.pairwise(xids))
        if not (0 < xmin <= xmax < 2**63 and ordered and all(xmin <= xid < xmax for xid in (*xids[:1], *xids[-1:]))):
            raise ValueError(f"{text[:80]!r} is not a snapshot")
        return cls(xmin, xmax, xids)

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    def sees(self, xid: int) -> bool:
        """Whether the snapshot sees a transaction, as PostgreSQL's pg_visible_in_snapshot says."""
        if xid < self.xmin:
            return True
        if xid >= self.xmax:
            return False
        at = bisect.bisect_left(self.running, xid)
        return at == len(self.running) or self.running[at] != xid

    @property
    def age(self) -> tuple[int, int]:
        """A key that sorts snapshots of one lineage by time: as transactions begin, xmax grows; as they end, fewer
        run."""
        return (self.xmax, -len(self.running))

    def advanced(self, to: Snapshot, through: int) -> Snapshot:
        """This snapshot, extended by the transactions up to `through` that the later snapshot `to` sees.

        So new commits can be sent in portions, in the order of their xids, each with a cursor after it.
        """
        xmax = max(self.xmax, min(through + 1, to.xmax))
        running = [xid for xid in to.running if xid <= through]
        running += [xid for xid in self.running if xid > through]
        return Snapshot(running[0] if running else xmax, xmax, tuple(running))


@dataclass(frozen=True, slots=True)
class Cursor:
    """All commits that `snapshot` sees were sent. All others are in `epoch` or later ones: `epoch` is the lowest one
    that was not sealed then, so transactions that were still running could not write to earlier ones.

    `partly_sent`: (xid, series id). Of the large commit with this xid, the series up to this id were sent, too.
    """

    lineage: str  # of the database, 16 hex digits; all zeros (unknown) in a cursor of an earlier release
    snapshot: Snapshot
    epoch: int
    partly_sent: tuple[int, int] | None = None

    def encode(self) -> bytes:
        """The cursor as opaque bytes, which callers keep."""
        half = f"{self.partly_sent[0]},{self.partly_sent[1]}" if self.partly_sent else ""
        return _VERSION + f"{self.lineage};{self.epoch};{half};{self.snapshot}".encode()

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """Parses the bytes of a cursor. Raises InvalidField if they are not one."""
        try:
            if data.startswith(_FIRST_VERSION):
                data = _VERSION + _NO_LINEAGE.encode() + b";" + data.removeprefix(_FIRST_VERSION)
            if len(data) > _MAX_BYTES or not data.startswith(_VERSION):
                raise ValueError("no cursor of this version")
            match = _FORM.fullmatch(data.removeprefix(_VERSION).decode("ascii"))
            if match is None:
                raise ValueError("wrong form")
            half = (int(match["xid"]), int(match["series"])) if match["xid"] else None
            return cls(match["lineage"], Snapshot.parse(match["snapshot"]), int(match["epoch"]), half)
        except ValueError as error:
            raise InvalidField(
                "cursor: these bytes are not a cursor that Tail returned; begin without one", field="cursor"
            ) from error

    def advanced(self, to: Snapshot, through: int) -> Cursor:
        """The cursor after all commits up to `through` that `to` sees."""
        half = self.partly_sent if self.partly_sent and self.partly_sent[0] > through else None
        return replace(self, snapshot=self.snapshot.advanced(to, through), partly_sent=half)

    def within_commit(self, xid: int, series_id: int) -> Cursor:
        """The cursor after the series up to `series_id` of the commit with this xid."""
        return replace(self, partly_sent=(xid, series_id))
