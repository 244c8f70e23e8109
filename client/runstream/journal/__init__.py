"""The journal: what a training process has logged, on disk, until the agent has sent it to the service.

    format     the bytes of records and their payloads
    writer     appends the records of one run handle
    reader     reads them, and finds damage; `segment` reads one file
    position   how far the agent has sent them
    directory  where journals are, and the files that the agent shares with training processes
    memory     a journal in memory: writer and reader
    check      verifies journals, and repairs nothing
    files      operations on the file system; `locks`, `layout`

Only the standard library is used. `reader` and `check` are not imported here, as a training process does not read.
docs/client-design.md has a drawing.
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
