"""The service, with writers that acknowledge points and drop them. What remains is the cost of messages.

python -m runstream_bench.dropping serve ...
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from runstream.cli import main
from runstream_service.ingest import pipeline
from runstream_service.ingest.group import Pending
from runstream_service.ingest.writer import Writer
from runstream_service.server import worker, worker_pool

_COMPLETED_AT_ONCE = 16  # the same number as for a writer that stores them


class DroppingWriter(Writer):
    """A writer that collects groups as usual, and whose commits do nothing."""

    async def _commit(self, items: list[Pending], **_: Any) -> None:
        for first in range(0, len(items), _COMPLETED_AT_ONCE):
            for item in items[first : first + _COMPLETED_AT_ONCE]:
                self._complete(item, None)
            await asyncio.sleep(0)


if __name__ == "__main__":
    pipeline.Writer = DroppingWriter  # type: ignore[attr-defined]
    worker_pool.PROGRAM = ("-m", "runstream_bench.dropping", "worker")
    if sys.argv[1] == "worker":
        sys.exit(worker.main(sys.argv[2:]))
    main()
