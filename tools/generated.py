"""Files that programs make and the repository keeps."""

from __future__ import annotations

import sys
from pathlib import Path


def keep(directory: Path, wanted: dict[str, str], *, check: bool, again: str) -> None:
    """Makes a directory have these files (path below it -> text) and no others.

    With `check` it writes nothing, but exits with a line that names those that differ; `again` says how to make them.
    """
    stored = {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}
    stale = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
    if check and stale:
        sys.exit(f"{directory} is stale ({', '.join(stale)}): {again}")
    for name in stale:
        path = directory / name
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name])
        else:
            path.unlink()
