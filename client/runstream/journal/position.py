"""The position: how far the agent has sent a journal, in a file next to its segments. Only the agent writes it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

from runstream.journal.files import OS_FILES, Files, replace_file_on_full_disk
from runstream.journal.layout import DURABLE_POSITION, NEW_PREFIX, POSITION

MAX_NOTICES = 50


class Position(NamedTuple):
    """The content of the file: a line of JSON with these keys, and a line with its CRC-32 in hex.

    After a power cut, the file has the last durable save or a later one.
    """

    records: int = 0  # every record with this sequence or a lower one is acknowledged, answered or refused for good
    acknowledged_points: int = 0
    refused: Mapping[str, int] = MappingProxyType({})  # points by reason
    lost_acknowledged: int = 0  # points that the service had acknowledged and has lost since
    producer: str = ""  # id in hex; differs from the journal's id after DATA_LOSS or a hole
    producer_first_batch: int = 1  # the number in the journal of that producer's batch 1
    run_id: str = ""  # as the service has assigned it; empty until it has answered
    run_name: str = ""  # as the service has it
    run_state: str = ""  # "" (the service has not answered), "created", "refused" or "deleted"
    finished: bool = False  # FINISH is answered
    end_refused: bool = False  # the service has refused to set the run's end
    connected: bool = False  # the producer is open on a stream
    reconnects: int = 0  # how often it was opened again
    server: str = ""  # the address of the last stream
    last_error: str = ""
    notices: Sequence[Mapping[str, Any]] = ()  # the last MAX_NOTICES, {"n", "level", "text"} each
    agent_pid: int = 0
    updated_unix_us: int = 0

    @classmethod
    def load(cls, path: Path) -> Position | None:
        """Reads the position of the journal in this directory; None if there is none yet, or it is damaged. (Then
        everything is sent again, and the service recognises what it has.)"""
        for name in (POSITION, DURABLE_POSITION):
            with contextlib.suppress(OSError):
                if (position := _decoded((path / name).read_bytes())) is not None:
                    return position
        return None

    def save(self, path: Path, durable: bool, files: Files = OS_FILES) -> None:
        """Replaces the position of the journal in this directory in one step. `durable`: returns when it is on disk,
        which is necessary before a segment is deleted or a new producer sends. Raises OSError."""
        data = _encoded(self)
        # A full disk must not keep the agent from settling records, which is what frees it.
        replace_file_on_full_disk(files, path / POSITION, path / (NEW_PREFIX + POSITION), data, durable=durable)
        if durable:
            # Later saves that are not durable replace the first file, and a power cut may leave that empty.
            second, temporary = path / DURABLE_POSITION, path / (NEW_PREFIX + DURABLE_POSITION)
            replace_file_on_full_disk(files, second, temporary, data, durable=True)
            files.sync_directory(path)


def combined(positions: Sequence[Position]) -> Position:
    """One position for several journals of one handle: points are added up, and the last one has the run's state."""
    last = positions[-1]
    refused: Counter[str] = Counter()
    for position in positions:
        refused.update(position.refused)
    return last._replace(
        acknowledged_points=sum(position.acknowledged_points for position in positions),
        lost_acknowledged=sum(position.lost_acknowledged for position in positions),
        reconnects=sum(position.reconnects for position in positions),
        refused=dict(refused),
        run_id=last.run_id or next((position.run_id for position in positions if position.run_id), ""),
    )


def _encoded(position: Position) -> bytes:
    values = {**position._asdict(), "refused": dict(position.refused), "notices": position.notices[-MAX_NOTICES:]}
    line = json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%s\n%08x\n" % (line, crc32(line))


def _decoded(data: bytes) -> Position | None:
    line, _, rest = data.partition(b"\n")
    if rest != b"%08x\n" % crc32(line):
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    known = {name: value for name, value in values.items() if name in Position._fields}  # a newer release may add keys
    return Position(**{**known, "notices": tuple(known.get("notices", ()))})
