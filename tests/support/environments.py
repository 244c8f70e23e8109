"""Virtual environments with other versions than ours, kept below build/ between test runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "build" / "environments"
_NO_NETWORK = ("No matching distribution", "ConnectionError", "NewConnectionError", "Temporary failure", "timed out")


def environment(name: str, *packages: str, python: str = sys.executable) -> Path:
    """The Python of an environment with these packages; made once, then used as it is.

    Our own pip fills it: an environment with a pip of its own takes twice as long to make.

    Skips the test where they cannot be had.
    """
    directory = _FOLDER / name
    ready = directory / "ready"
    wanted = " ".join(packages)
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([python, "-m", "venv", "--without-pip", directory], check=True, capture_output=True)
        install = [sys.executable, "-m", "pip", "--python", str(directory), "install", "--quiet", "--only-binary=:all:"]
        done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            if any(words in done.stderr for words in _NO_NETWORK):
                pytest.skip(f"{wanted} cannot be had here: {done.stderr.strip().splitlines()[-1][:200]}")
            pytest.fail(f"{wanted} cannot be installed: {done.stderr[-800:]}")
        ready.write_text(wanted)
    return directory / "bin" / "python"


def interpreter(python: str) -> str | None:
    """A working interpreter of that name: on the path, or among those that pyenv and uv keep aside."""
    kept = [
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python")),
    ]
    aside = [str(path) for folder in kept for path in sorted(folder.glob(f"*/bin/{python}"))]
    for candidate in filter(None, [shutil.which(python), *aside]):
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None
