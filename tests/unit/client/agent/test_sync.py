"""sync, status and check: what an operator does with a directory, a journal, or a copy of one."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runstream.agent import console
from runstream.agent.status import read_status
from runstream.agent.sync import CannotSync, sync
from runstream.commands import runstream
from runstream.journal import Directory
from runstream.v1 import run_pb2
from tests.unit.client.agent.conftest import started
from tests.unit.client.services import Service
from tests.unit.client.transport.journals import Trainer
from tests.unit.client.transport.outcomes import steps
from tests.unit.journal.records import with_version

pytestmark = pytest.mark.real_only("what commands do; the same on both")


def offline(directory: Directory, address: str, count: int = 2_500, *, key: str = "loss", **fields: Any) -> Trainer:
    """The journal, never sent, of a process that has ended well."""
    trainer = Trainer.start(directory, address, **fields)
    trainer.params(lr="1")
    trainer.log(range(count), key)
    trainer.finish()
    trainer.die()
    return trainer


@pytest.mark.parametrize("what", ["directory", "layout", "journal"])
def test_a_directory_its_layout_or_one_journal_is_sent_and_left_with_its_position(
    service: Service, directory: Directory, what: str
) -> None:
    trainer = offline(directory, service.address)
    path = {"directory": directory.path, "layout": directory.path / "v1", "journal": trainer.path}[what]
    seen: list[tuple[int, int]] = []
    result = sync(path, progress=lambda done, total: seen.append((done, total)))
    assert result.ok
    assert result.lines() == [f"2,500 points of 1 journals stored in {result.seconds:.1f} s"]
    assert seen[-1] == (2_500, 2_500)
    assert service.values("loss") == steps(2_500)
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FINISHED
    assert trainer.position().finished
    again = sync(path)
    assert again.ok
    assert again.journals[0].stored == 0
    assert service.values("loss") == steps(2_500)


def test_two_copies_from_another_machine_are_stored_once_at_the_address_that_is_named(
    service: Service, directory: Directory, tmp_path: Path
) -> None:
    offline(directory, "127.0.0.1:1", host="elsewhere")
    for name in ("first", "second"):
        shutil.copytree(directory.path, tmp_path / name)
        assert sync(tmp_path / name, service.address).ok
    assert service.values("loss") == steps(2_500)


def test_a_journal_without_an_end_from_another_machine_leaves_the_run_as_it_is(
    service: Service, directory: Directory
) -> None:
    trainer = Trainer.start(directory, service.address, host="elsewhere")
    trainer.log(range(10))
    trainer.die()
    result = sync(directory.path)
    assert result.ok
    assert "the run has not ended, so it stays RUNNING" in result.lines()[1]
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_RUNNING


def test_a_journal_without_an_end_of_a_process_that_died_here_ends_the_run(
    service: Service, directory: Directory
) -> None:
    trainer = Trainer.start(directory, service.address, host=socket.gethostname())
    trainer.log(range(10))
    trainer.die()
    assert sync(directory.path).ok
    assert service.run(trainer.run_id).status == run_pb2.RUN_STATUS_FAILED


def test_refused_points_are_in_the_summary_and_in_the_exit_status(
    service: Service, directory: Directory, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = offline(directory, service.address, 10, key="k" * 251)
    assert console.main(["sync", str(directory.path)]) == 1
    assert f"run {trainer.run_id} rank 0" in (output := capsys.readouterr().out)
    assert "10 points refused (key_too_long)" in output


def test_a_damaged_journal_is_sent_as_far_as_it_can_be_read_and_stays_as_it_is(
    service: Service, directory: Directory, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = offline(directory, service.address, 5_000)
    segment = trainer.path / "00000001.seg"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert console.main(["check", str(directory.path)]) == 1
    assert "it is damaged, 1 batches are missing" in capsys.readouterr().out
    result = sync(directory.path)
    assert not result.ok
    assert "1 batches are missing; the rest of it was sent" in result.lines()[1]
    assert len(service.values("loss")) == 4_000
    assert segment.read_bytes() == data
    assert not (trainer.path / "damaged").exists()


def test_a_directory_whose_agent_runs_is_not_sent_by_two(service: Service, directory: Directory) -> None:
    trainer = Trainer.start(directory, service.address)
    agent = started(directory)
    with pytest.raises(CannotSync, match=f"an agent .pid {agent.pid}. already sends the journals of"):
        sync(directory.path)
    trainer.die()


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_path_without_journals_is_named(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.main(["sync", str(tmp_path / name)]) == 1
    assert "name a directory of runstream, a journal, or a copy of one" in capsys.readouterr().err


def test_the_command_line_shows_what_waits_checks_it_and_sends_it(service: Service, directory: Directory) -> None:
    trainer = offline(directory, service.address)
    run = CliRunner(env={"COLUMNS": "300"}).invoke
    shown = run(runstream, ["agent", "status", "--dir", str(directory.path)])
    assert shown.exit_code == 0, shown.output
    for words in ("no agent runs", trainer.run_id[:8], "2,500", "finished", "not created"):
        assert words in shown.output
    checked = run(runstream, ["sync", "--check", str(directory.path)])
    assert checked.exit_code == 0, checked.output
    assert "2,500" in checked.output
    assert service.points() == []
    sent = run(runstream, ["sync", str(directory.path)])
    assert sent.exit_code == 0, sent.output
    assert "2,500 points of 1 journals stored" in sent.output
    assert run(runstream, ["sync", str(directory.path / "nothing")]).exit_code == 1


def test_the_status_of_a_directory_with_an_agent_is_one_json_object(
    service: Service, directory: Directory, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer.start(directory, service.address)
    trainer.log(range(10))
    agent = started(directory)
    assert console.main(["status", "--dir", str(directory.path), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["agent_runs"], status["agent_pid"]) == (True, agent.pid)
    (journal,) = status["journals"]
    assert (journal["run_id"], journal["writer"]) == (trainer.run_id, "alive")
    assert console.main(["status", "--dir", str(directory.path)]) == 0
    assert f"the agent runs (pid {agent.pid})" in capsys.readouterr().out
    run = CliRunner(env={"COLUMNS": "300"}).invoke
    assert (
        f"the agent runs (pid {agent.pid}" in run(runstream, ["agent", "status", "--dir", str(directory.path)]).output
    )


def test_a_journal_of_a_newer_version_is_left_alone_and_named(service: Service, directory: Directory) -> None:
    trainer = offline(directory, service.address)
    segment = trainer.path / "00000001.seg"
    data = with_version(segment.read_bytes(), 9)
    segment.write_bytes(data)
    (found,) = read_status(directory).journals
    assert "version 9" in found.problem
    result = sync(directory.path)
    assert not result.ok
    assert "update runstream" in result.lines()[1]
    assert segment.read_bytes() == bytes(data)
