"""Virtual environments with other versions than ours, kept below build/ between test runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "build" / "environments"
_NO_NETWORK = ("No matching distribution", "ConnectionError", "NewConnectionError", "Temporary failure", "timed out")


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment with these packages; made once, then used as it is.

    Skips the test where they cannot be had.
    """
    directory = _FOLDER / name
    ready = directory / "ready"
    wanted = " ".join(packages)
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", directory], check=True, capture_output=True)
        install = [
            str(directory / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary=:all:",
            *packages,
        ]
        done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            if any(words in done.stderr for words in _NO_NETWORK):
                pytest.skip(f"{wanted} cannot be had here: {done.stderr.strip().splitlines()[-1][:200]}")
            pytest.fail(f"{wanted} cannot be installed: {done.stderr[-800:]}")
        ready.write_text(wanted)
    return directory / "bin" / "python"
