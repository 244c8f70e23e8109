"""What a page has received, as the text of `Last-Event-ID`: the cursor of the tail of each run.

Runs that were read together have the same cursor, which is then written once: `cursor@run,run|cursor@run`. The first
characters of a run's id are enough to distinguish the runs of one page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_ID_CHARACTERS = 12
# A browser ignores an empty id, and would reconnect like a new page.
_NOTHING = "-"
# A browser sends it in a header, and requests with very long heads are refused.
MAX_CHARACTERS = 32_768


def encode(cursors: Mapping[str, bytes]) -> str:
    """The text for the cursors by run id. If it would be too long, the text is _NOTHING, and a page that reconnects has
    to read everything again."""
    runs_of: dict[bytes, list[str]] = {}
    for run_id, cursor in cursors.items():
        runs_of.setdefault(cursor, []).append(run_id[:_ID_CHARACTERS])
    text = "|".join(f"{cursor.decode('ascii')}@{','.join(runs)}" for cursor, runs in runs_of.items())
    return text if 0 < len(text) <= MAX_CHARACTERS else _NOTHING


def decode(text: str, run_ids: Iterable[str]) -> dict[str, bytes]:
    """The cursors by run id. A run is left out if the text does not have its cursor, or cannot be parsed."""
    by_beginning: dict[str, bytes] = {}
    for part in text.split("|"):
        cursor, _, runs = part.rpartition("@")
        if cursor and cursor.isascii():
            by_beginning |= dict.fromkeys(runs.split(","), cursor.encode())
    return {
        run_id: by_beginning[run_id[:_ID_CHARACTERS]] for run_id in run_ids if run_id[:_ID_CHARACTERS] in by_beginning
    }
