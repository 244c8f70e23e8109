"""A process that appends batches 1, 2, ... to a new journal until it is killed, or until there are `count` of them.

    python writing_process.py DIRECTORY SEGMENT_BYTES COUNT

It prints its journal's id, and then the number of each batch when `append` has returned.
"""

import random
import sys
from pathlib import Path

from runstream.journal import Directory, JournalWriter, RecordType
from runstream.journal import writer as writer_module
from tests.unit.journal.records import CREATE, batch


def main() -> None:
    directory, segment_bytes, count = Directory(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    writer_module.SEGMENT_BYTES = segment_bytes  # type: ignore[attr-defined]
    writer = JournalWriter.create(directory, CREATE)
    print(writer.id, flush=True)
    for number in range(1, count + 1):
        writer.append(RecordType.BATCH, batch(number, random.randrange(200)))
        if number % 50 == 0:
            writer.sync()
        print(number, flush=True)


if __name__ == "__main__":
    main()
