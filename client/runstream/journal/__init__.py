"""The journal: what a training process has logged, on disk, until the agent has brought it to the service.

    format     the bytes of records and their payloads
    writer     appends records, for one run handle
    reader     returns them, and what is damaged; `segment` reads one file
    position   how far the agent has brought them
    directory  where journals are, and what the agent and its starters share
    memory     writer and reader without a directory
    check      verifies a directory, and repairs nothing
    files      what is done to the file system; `locks`, `layout`

Only the standard library is used. `reader` and `check` are imported by name: a training process does not read.
docs/client-design.md has the picture.
"""

from runstream.journal.directory import Directory
from runstream.journal.format import NewerVersion, Record, RecordType
from runstream.journal.memory import MemoryJournal
from runstream.journal.position import Position
from runstream.journal.writer import JournalWriter

__all__ = [
    "Directory",
    "JournalWriter",
    "MemoryJournal",
    "NewerVersion",
    "Position",
    "Record",
    "RecordType",
]
