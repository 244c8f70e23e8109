"""The client at the floors of its pyproject.toml, on the oldest Python and a recent one, where they are installed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import environment
from tests.unit.client.test_processes import ROOT, check, count_up, run_program


def floors() -> list[str]:
    """The oldest versions that the client says it runs with."""
    text = (ROOT / "client" / "pyproject.toml").read_text()
    found = re.findall(r'^  "(grpcio|protobuf)>=([\d.]+)', text.split("dependencies = [", 1)[1], re.MULTILINE)[:2]
    assert [name for name, _ in found] == ["grpcio", "protobuf"]
    return [f"{name}=={version}" for name, version in found]


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


def oldest_environment(python: str) -> Path:
    """A virtual environment with exactly these versions."""
    executable = interpreter(python)
    if executable is None:
        pytest.skip(f"no {python} on this machine: neither on the path nor from pyenv or uv")
    return environment(f"oldest-{python}", *floors(), python=executable)


@pytest.mark.parametrize("python", ["python3.10", "python3.13"])
def test_the_client_streams_and_forks_at_the_oldest_versions_it_allows(service, python):
    result = run_program(service, "os_fork", 5, python=str(oldest_environment(python)))
    check(service, result)
    said = dict(line.split() for line in result.stdout.splitlines())
    assert said["failed"] == "0"
    count_up(service, "parent", int(said["parent"]))
    for number in range(5):
        count_up(service, f"child{number}", 1_200)
