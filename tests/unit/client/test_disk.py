"""A disk that is full, fails or loses its journals: points wait, are sent from memory, and are counted."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import runstream
from runstream import _journal_store, _recorder
from runstream._lifecycle import process_state
from runstream._repetition import Repetition
from runstream.journal import Directory, JournalWriter, RecordType
from runstream.v1 import run_pb2
from tests.support.polling import until_now
from tests.unit.client.conftest import StartRun
from tests.unit.client.services import Service
from tests.unit.client.stored_journals import TestAgent


@dataclass
class Disk:
    """A disk that raises `error` while it is set, at "create", "append" or "sync"."""

    error: OSError | None = None
    at: str = "append"
    syncs: int = 0

    def check(self, at: str) -> None:
        """Raises the error if it happens here."""
        if self.error is not None and self.at == at:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk on which the journals of this process are."""
    disk = Disk()
    create, append, sync = JournalWriter.create, JournalWriter.append, JournalWriter.sync

    def checked_create(directory: Directory, record: dict[str, Any]) -> JournalWriter:
        disk.check("create")
        return create(directory, record)

    def checked_append(writer: JournalWriter, kind: RecordType, payload: bytes) -> int:
        disk.check("append")
        return append(writer, kind, payload)

    def checked_sync(writer: JournalWriter) -> None:
        disk.syncs += 1
        disk.check("sync")
        sync(writer)

    monkeypatch.setattr(JournalWriter, "create", checked_create)
    monkeypatch.setattr(JournalWriter, "append", checked_append)
    monkeypatch.setattr(JournalWriter, "sync", checked_sync)
    monkeypatch.setattr("runstream._recording._RETRY_S", 0.05)
    return disk


@pytest.mark.parametrize("at", ["create", "append"])
def test_a_full_disk_is_reported_once_and_points_wait_in_memory_until_it_has_room(
    agent: TestAgent, start: StartRun, disk: Disk, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    caplog.set_level(logging.INFO, "runstream")
    disk.error, disk.at = OSError(errno.ENOSPC, "No space left on device"), at
    run = start("e", params={"a": 1})
    for step in range(3_000):
        run.log({"loss": float(step)}, step=step)
    until_now(lambda: run.stats().journal == "memory")
    assert not run.flush(0.3)
    stats = run.stats()
    assert (stats.waiting, stats.on_disk) == (3_000, 0)
    assert "No space left on device" in stats.last_error
    disk.error = None
    assert run.flush(120)
    assert agent.values("loss") == [float(step) for step in range(3_000)]
    assert agent.runs[run.run_id].params == {"a": "1"}
    assert run.stats().journal == "disk"
    assert caplog.text.count("its journal cannot be written") == 1
    assert caplog.text.count("can be written again") == 1
    assert run.finish()


@pytest.fixture
def full_disk_run(agent: TestAgent, start: StartRun, disk: Disk, service: Service) -> Iterator[runstream.Run]:
    """A run with ten points at the agent, and twenty that no disk has taken. Its service is there."""
    run = start("e", address=service.address, params={"a": 1})
    log(run, 0, 10)
    assert run.flush(60)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    log(run, 10, 30)
    yield run
    process_state.recorder.stop_stores()


def log(run: runstream.Run, first: int, end: int) -> None:
    for step in range(first, end):
        run.log({"loss": float(step)}, step=step)


def log_until_on_disk(run: runstream.Run, step: int) -> int:
    """Logs points until the disk, which is tried again once a second, has one; returns the next step."""
    give_up = time.monotonic() + 60
    while run.stats().journal != "disk":
        assert time.monotonic() < give_up, run.stats()
        log(run, step, step + 1)
        assert run.flush(60)
        step += 1
    return step


def test_while_the_disk_is_full_a_service_that_can_be_reached_gets_the_points_from_memory(
    full_disk_run: runstream.Run, service: Service, agent: TestAgent, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    run = full_disk_run
    run.set_tags({"b": "2"})
    assert run.flush(60)
    assert service.values("loss") == [float(step) for step in range(10, 30)]
    assert dict(service.run(run.run_id).tags) == {"b": "2"}
    stats = run.stats()
    assert (stats.acknowledged, stats.waiting, stats.on_disk, stats.journal) == (30, 0, 0, "memory")
    assert "No space left on device" in stats.last_error
    disk.error = None
    logged = log_until_on_disk(run, 30)
    log(run, logged, logged + 10)
    assert run.flush(60)
    assert agent.values("loss")[-10:] == [float(step) for step in range(logged, logged + 10)]
    stored = sorted(agent.values("loss") + service.values("loss"))
    assert stored == [float(step) for step in range(logged + 10)]
    assert run.finish()
    assert agent.status(run.run_id) == "FINISHED"
    assert service.run(run.run_id).status == run_pb2.RUN_STATUS_RUNNING  # its end is in the journal on disk
    assert run.stats().logged == run.stats().acknowledged == logged + 10


def test_a_run_that_ends_while_the_disk_is_full_has_its_end_and_its_points(
    full_disk_run: runstream.Run, service: Service, agent: TestAgent
) -> None:
    run = full_disk_run
    path = Path(run.stats().journal_path)
    assert run.finish(timeout=60)
    assert service.values("loss") == [float(step) for step in range(10, 30)]
    assert service.run(run.run_id).status == run_pb2.RUN_STATUS_FINISHED
    assert dict(run.stats().refused) == {}
    assert not path.exists(), "the agent would take its writer for dead, and set the run to FAILED"


@pytest.mark.reference_only("nothing reaches the service")
def test_without_a_thread_for_sending_points_wait_for_the_disk_and_it_is_tried_once_a_second(
    full_disk_run: runstream.Run, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def refuse() -> None:
        tries.append(time.monotonic())
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("runstream._carriers.check_threads_for_grpc", refuse)
    monkeypatch.setattr("runstream._recording._RETRY_S", 1.0)
    began = time.monotonic()
    assert not full_disk_run.flush(1.5)
    assert 1 <= len(tries) <= 2 + time.monotonic() - began
    assert "points cannot be sent from memory" in caplog.text
    disk.error = None
    assert full_disk_run.flush(60)


def test_points_that_no_disk_takes_wait_for_it_while_the_service_is_away(
    full_disk_run: runstream.Run, service: Service, agent: TestAgent, disk: Disk
) -> None:
    run = full_disk_run
    service.stop()
    assert not run.flush(0.5)
    assert (run.stats().waiting, run.stats().acknowledged) == (20, 10)
    disk.error = None
    assert run.flush(60)
    assert agent.values("loss") == [float(step) for step in range(30)]
    service.start()


def test_a_full_buffer_refuses_counts_warns_and_takes_again(
    agent: TestAgent, start: StartRun, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.error = OSError(errno.EROFS, "Read-only file system")
    run = start("e", settings={"max_points": 100})
    for step in range(150):
        run.log({"loss": 1.0}, step=step)
    until_now(lambda: "the buffer is full" in caplog.text)
    assert (run.stats().waiting, dict(run.stats().refused)) == (100, {"buffer_full": 50})
    disk.error = None
    assert run.flush(120)
    run.log({"loss": 1.0})
    assert run.flush(120)
    assert run.stats().acknowledged == 101


def test_what_never_reached_the_disk_is_counted_as_not_sent_at_the_end(
    agent: TestAgent, start: StartRun, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.error = OSError(errno.EACCES, "Permission denied")
    disk.at = "create"
    run = start("e")
    run.log({"loss": 1.0})
    assert not run.finish(timeout=0.2)
    assert (run.stats().waiting, dict(run.stats().refused)) == (0, {"not_sent": 1})


def test_after_a_failed_sync_the_handle_goes_on_in_a_new_journal(
    agent: TestAgent,
    start: StartRun,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_recorder, "_SYNC_S", 0.01)
    agent.held = True
    run = start("e", params={"a": 1})
    disk.error, disk.at = OSError(errno.EIO, "Input/output error"), "sync"
    run.log({"loss": 0.0}, step=0)
    until_now(lambda: "cannot be synced" in caplog.text)
    disk.error = None
    run.log({"loss": 1.0}, step=1)
    agent.held = False
    assert run.flush(120)
    assert sorted(agent.values("loss")) == [0.0, 1.0]
    assert len(agent.creates) == 2
    assert len(agent.runs) == 1
    stats = run.stats()
    assert (stats.logged, stats.acknowledged, stats.on_disk) == (2, 2, 0)
    assert run.finish()


def test_a_journal_that_somebody_deletes_is_counted_and_replaced(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = start("e")
    run.log({"loss": 0.0}, step=0)
    assert run.flush(120)
    agent.held = True
    run.log({"loss": 1.0}, step=1)
    until_now(lambda: run.stats().on_disk == 1)
    shutil.rmtree(agent.directory.path / "v1" / "journals")
    run.log({"loss": 2.0}, step=2)
    until_now(lambda: run.stats().refused)
    agent.held = False
    assert not run.flush(20), "something is lost"
    assert agent.values("loss") == [0.0, 2.0]
    assert dict(run.stats().refused) == {"journal_deleted": 1}
    assert "was deleted, with 1 points" in caplog.text
    assert not run.finish()
    assert agent.status(run.run_id) == "FINISHED"
    stats = run.stats()
    assert stats.logged == stats.acknowledged + 1 == 3


def test_what_the_service_has_needs_no_sync_and_everything_else_is_synced(
    agent: TestAgent, start: StartRun, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recorder, "_SYNC_S", 0.3)
    run = start("e")
    for _ in range(10):
        run.log({"loss": 1.0})
        assert run.flush(120)
    assert disk.syncs <= 1
    agent.held = True
    run.log({"loss": 1.0})
    before = disk.syncs
    until_now(lambda: disk.syncs > before)


def test_at_the_limit_of_the_directory_new_points_are_refused_and_counted(
    agent: TestAgent,
    start: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_journal_store, "_LIMIT_CHECK_S", 0.0)
    monkeypatch.setattr("runstream.journal.directory._TOTAL_VALID_S", 0.0)
    monkeypatch.setenv("RUNSTREAM_DIR_BYTES", "100000")
    monkeypatch.setattr("runstream._run_logger._said", Repetition())
    agent.held = True
    run: Any = start("e")
    run.log({f"key{n}": 1.0 for n in range(5_000)})
    until_now(lambda: run.stats().journal == "full")
    until_now(lambda: (run.log({"loss": 1.0}), run.stats().refused)[1])
    run.set_tags({"a": 1})
    assert "RUNSTREAM_DIR_BYTES" in caplog.text
    agent.held = False
    assert run.flush(120)
    assert set(run.stats().refused) == {"journal_full"}
    assert agent.runs[run.run_id].tags == {"a": "1"}
    for path in agent.directory.journals():  # as the agent does with segments that it has sent
        for segment in path.glob("*.seg"):
            os.truncate(segment, 0)
    refused = run.stats().refused["journal_full"]
    until_now(lambda: run.stats().journal == "disk")
    until_now(lambda: run._buffer.closed_for == "")
    run.log({"loss": 1.0})
    assert run.stats().refused["journal_full"] == refused
