"""RUNSTREAM_MODE: offline, disabled, and one that does not exist."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path

import pytest

import runstream
from runstream.journal import Directory
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


def test_offline_the_journal_is_enough_and_one_line_says_how_to_send_it(
    journal_directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runstream")
    monkeypatch.setenv("RUNSTREAM_MODE", "offline")
    with runstream.start_run("e") as run:
        run.log({"loss": 1.0})
        assert run.flush(120)
    assert run.finish()
    assert (run.stats().on_disk, run.stats().journal) == (1, "disk")
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"`runstream sync {journal_directory}`" in line
    assert not Directory.open(journal_directory).agent_runs()


def test_disabled_nothing_is_recorded(journal_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_MODE", "disabled")
    with runstream.start_run("e", params={"a": 1}) as run:
        run.log({"loss": 1.0})
        run.set_tags({"a": 1})
        assert run.flush()
        assert len(run.run_id) == 32
        assert copy.deepcopy(run) is run
        assert pickle.loads(pickle.dumps(run)).finish()
    assert run.finish()
    assert (run.stats().logged, run.stats().journal) == (0, "disabled")
    assert not journal_directory.exists()


def test_a_mode_that_does_not_exist_is_named(
    agent: TestAgent,
    start: StartRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RUNSTREAM_MODE", "of-line")
    assert start("e").finish()
    assert "RUNSTREAM_MODE='of-line'" in caplog.text
