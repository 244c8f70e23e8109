"""The names of the files in a journal's directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

WRITER_LOCK = "writer.lock"
POSITION = "position.json"
DURABLE_POSITION = "position.durable.json"  # the last position that was saved durably; read if the other is damaged
DAMAGED = "damaged"  # a directory with copies of damaged bytes
NEW_PREFIX = ".new-"  # of directories and files that are not yet complete
KEPT_ORDINAL = 0  # a segment with the CREATE and DECLARE records of segments that were deleted
_SUFFIX = ".seg"


def segment_name(ordinal: int) -> str:
    """The name of a segment; that of the first is `00000001.seg`."""
    return f"{ordinal:08d}{_SUFFIX}"


def segment_ordinals(path: Path) -> list[int]:
    """The ordinals of the segments in a journal's directory, ascending, without the kept one. [] if there is no such
    directory."""
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = os.listdir(path)
    stems = [name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX)]
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit() and int(stem) != KEPT_ORDINAL)
