"""The client with the oldest versions that its pyproject.toml allows, on the oldest Python and on a recent one."""

from pathlib import Path

import pytest

from tests.support.environments import environment, interpreter
from tests.support.floors import floors
from tests.unit.client.services import Service
from tests.unit.client.test_processes import check, count_up, run_program

pytestmark = pytest.mark.real_only("proves more: the oldest client with today's service")


def oldest_environment(python: str) -> Path:
    """A virtual environment with exactly the oldest versions."""
    executable = interpreter(python)
    if executable is None:
        pytest.skip(f"no {python} on this machine: neither on the path nor from pyenv or uv")
    oldest = [f"{name}=={version}" for name, version in floors("client").items() if name != "tomli"]
    return environment(f"oldest-{python}", *oldest, python=executable)


@pytest.mark.parametrize("python", ["python3.10", "python3.13"])
def test_the_client_streams_and_forks_at_the_oldest_versions_it_allows(service: Service, python: str) -> None:
    result = run_program(service.address, "os_fork", 5, python=str(oldest_environment(python)))
    check(result)
    said = dict(line.split() for line in result.stdout.splitlines())
    assert said["failed"] == "0"
    count_up(service, "parent", int(said["parent"]))
    for number in range(5):
        count_up(service, f"child{number}", 1_200)
