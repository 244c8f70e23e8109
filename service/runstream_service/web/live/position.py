"""What a page has had, as the text of `Last-Event-ID`: for each run the cursor of its tail.

Runs that were read together have the same cursor, which is then written once: `cursor@run,run|cursor@run`. Of a run's
id, the beginning is enough to tell the runs of one page apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_ID_CHARACTERS = 12
# An empty id would be no id: a browser would reconnect as if it were new.
_NOTHING = "-"
# A browser keeps it in a header; longer heads of requests are refused.
MAX_CHARACTERS = 32_768


def encode(cursors: Mapping[str, bytes]) -> str:
    """The text for the cursors by run id. If it would be too long, it says nothing, and the page begins again."""
    runs_of: dict[bytes, list[str]] = {}
    for run_id, cursor in cursors.items():
        runs_of.setdefault(cursor, []).append(run_id[:_ID_CHARACTERS])
    text = "|".join(f"{cursor.decode('ascii')}@{','.join(runs)}" for cursor, runs in runs_of.items())
    return text if 0 < len(text) <= MAX_CHARACTERS else _NOTHING


def decode(text: str, run_ids: Iterable[str]) -> dict[str, bytes]:
    """The cursors by run id. A run of which the text says nothing, or nothing that can be read, is left out."""
    by_beginning: dict[str, bytes] = {}
    for part in text.split("|"):
        cursor, _, runs = part.rpartition("@")
        if cursor and cursor.isascii():
            by_beginning |= dict.fromkeys(runs.split(","), cursor.encode())
    return {
        run_id: by_beginning[run_id[:_ID_CHARACTERS]] for run_id in run_ids if run_id[:_ID_CHARACTERS] in by_beginning
    }
