"""The error when the installed protobuf cannot run the generated code."""

from __future__ import annotations

import re
import subprocess

import pytest

from runstream._protobuf_version import check
from tests.support.environments import environment
from tests.support.markdown import ROOT


@pytest.mark.parametrize("version", ["4.25.0", "5.29.5", "6.33.6", "7.36.2", "7.0.0rc1", "6.30.0.dev1"])
def test_a_protobuf_within_the_bounds_is_taken(version: str) -> None:
    check(version)


@pytest.mark.parametrize("version", ["3.20.3", "4.24.4", "8.0.0", "10.1"])
def test_a_protobuf_out_of_the_bounds_is_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(ImportError, match=re.escape(f"protobuf {version} is installed")) as raised:
        check(version)
    assert 'pip install "protobuf>=4.25,<8.0"' in str(raised.value)


def test_the_bounds_are_those_of_the_package() -> None:
    assert '"protobuf>=4.25,<8"' in (ROOT / "client" / "pyproject.toml").read_text()


@pytest.mark.timeout(300)
def test_reading_with_an_older_protobuf_says_it_in_one_line() -> None:
    python = environment("protobuf-3", "grpcio==1.85.3", "protobuf==3.20.3")
    done = subprocess.run(
        [str(python), "-c", "import runstream; runstream.start_run; runstream.Client"],
        env={"PYTHONPATH": str(ROOT / "client"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: runstream needs protobuf 4.25 or newer, below 8.0; protobuf 3.")
