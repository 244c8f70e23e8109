"""docs/deadlines.md says how long each wait of the service lasts at most, and the code says the same."""

from __future__ import annotations

import asyncio
import importlib
import re
from pathlib import Path

import pytest

import runstream_service
from runstream_service.concurrency.deadlines import with_call_timeout, with_timeout
from runstream_service.database import connections
from runstream_service.errors.core import DatabaseUnavailable
from tests.support.tasks import end

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
        if module.startswith("demo/"):
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
        await with_call_timeout(hang(), 0.01)
    assert cancelled.is_set()
    assert await with_call_timeout(asyncio.sleep(0, "done")) == "done"


# How many turns of the event loop the cancellation comes after what was waited for.
TURNS = range(5)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("later", TURNS)
async def test_a_task_that_waits_in_a_loop_ends_when_it_is_cancelled_just_as_its_event_comes(later: int) -> None:
    event = asyncio.Event()

    async def wait_for_ever() -> None:
        while True:
            await with_timeout(event.wait(), 60)
            event.clear()

    task = asyncio.create_task(wait_for_ever())
    await turns(10)
    event.set()
    await turns(later)
    (raised,) = await end(task)
    assert isinstance(raised, asyncio.CancelledError)


@pytest.mark.parametrize("later", TURNS)
async def test_a_place_is_free_again_when_its_taker_is_cancelled_just_as_its_turn_comes(later: int) -> None:
    places = asyncio.Semaphore(0)

    async def take() -> None:
        await with_timeout(places.acquire(), 60)
        try:
            await asyncio.Event().wait()
        finally:
            places.release()

    task = asyncio.create_task(take())
    await turns(10)
    places.release()
    await turns(later)
    await end(task)
    assert not places.locked()


async def test_what_is_there_already_is_in_time_whatever_the_time() -> None:
    assert await with_timeout(asyncio.sleep(0, "there"), 60) == "there"
    places = asyncio.Semaphore(1)
    assert await with_timeout(places.acquire(), -1) is True


@pytest.mark.parametrize("seconds", [-1, 0, 0.01])
async def test_work_that_is_not_done_in_time_is_cancelled(seconds: float) -> None:
    answer = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await with_timeout(answer, seconds)
    assert answer.cancelled()


async def test_the_shorter_of_two_limits_applies_and_the_other_goes_on() -> None:
    reached = []

    async def inner() -> str:
        with pytest.raises(TimeoutError):
            await with_timeout(asyncio.Event().wait(), 0.01)
        reached.append("inner")
        await asyncio.sleep(0)
        return "done"

    assert await with_timeout(inner(), 60) == "done"
    with pytest.raises(TimeoutError):
        await with_timeout(with_timeout(asyncio.Event().wait(), 60), 0.01)
    assert reached == ["inner"]
