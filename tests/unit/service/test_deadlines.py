"""docs/deadlines.md says how long each wait of the service lasts at most, and the code says the same."""

from __future__ import annotations

import asyncio
import importlib
import re
from pathlib import Path

import pytest

import runstream_service
from runstream_service.core.errors import DatabaseUnavailable
from runstream_service.deadline import within
from runstream_service.storage import connections

DOCUMENT = Path(__file__).parents[3] / "docs" / "deadlines.md"
PACKAGE = Path(runstream_service.__file__).parent
# | what waits | 25 s | what then | `ingest/pipeline.py` `ANSWER_TIMEOUT_S` |
ROW = re.compile(r"^\|[^|]+\| ([0-9.]+) (s|min|h) \|[^|]+\| `([a-z_/]+)\.py` `(\w+)` \|$", re.MULTILINE)
SECONDS = {"s": 1, "min": 60, "h": 3_600}


def documented() -> dict[tuple[str, str], float]:
    return {
        (module, name): float(number) * SECONDS[unit]
        for number, unit, module, name in ROW.findall(DOCUMENT.read_text())
    }


@pytest.mark.parametrize(("place", "seconds"), documented().items())
def test_the_document_says_what_the_code_does(place: tuple[str, str], seconds: float) -> None:
    module = importlib.import_module(f"runstream_service.{place[0].replace('/', '.')}")
    value = getattr(module, place[1])
    assert (value.answer_timeout_s if isinstance(value, connections.ConnectionKind) else value) == seconds


def test_no_timeout_is_missing_in_the_document() -> None:
    known = documented()
    assert len(known) > 20
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if module.startswith(("bench/", "demo/")):
            continue
        for name in re.findall(r"^(\w+_TIMEOUT_S)\b[^=\n]*=", path.read_text(), re.MULTILINE):
            assert (module, name) in known, f"{path}: {name} has no row in docs/deadlines.md"


async def test_a_call_that_is_not_answered_in_time_ends_and_may_be_tried_elsewhere() -> None:
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(DatabaseUnavailable, match="not answered within"):
        await within(hang(), 0.01)
    assert cancelled.is_set()
    assert await within(asyncio.sleep(0, "done")) == "done"
