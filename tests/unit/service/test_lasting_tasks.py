"""The end of the tasks that run as long as their process."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from runstream_service.server.lasting_tasks import LastingTasks
from tests.support.tasks import end


async def test_a_task_that_survives_its_cancellation_does_not_keep_the_process_from_ending() -> None:
    async def survives_once() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    tasks = LastingTasks(end_within_s=0.05)
    stubborn = tasks.start("stubborn", survives_once())
    after = tasks.start("next", asyncio.sleep(60))
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        await tasks.cancel()
    assert after.cancelled()
    assert [log["step"] for log in logs if log["action"] == "shutdown_step_failed"] == ["stubborn"]
    await end(stubborn)
