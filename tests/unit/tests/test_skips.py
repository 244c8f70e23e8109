"""What is skipped in CI fails there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.skips import VARIABLE

FILES = {
    "in_a_test": "import pytest\ndef test_one():\n    pytest.skip('no chromium')\n",
    "marked": "import pytest\n@pytest.mark.skipif(True, reason='no chromium')\ndef test_one():\n    pass\n",
    "in_a_fixture": (
        "import pytest\n@pytest.fixture\ndef one():\n    pytest.skip('no chromium')\ndef test_one(one):\n    pass\n"
    ),
    "whole": "import pytest\npytest.skip('no chromium', allow_module_level=True)\n",
    "other_reason": "import pytest\ndef test_one():\n    pytest.skip('no IPv6 here')\n",
    "known_to_fail": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_one():\n    assert False\n",
}
REPOSITORY = Path(__file__).parents[3]


def run(directory: Path, allowed: str | None) -> str:
    for name, text in FILES.items():
        (directory / f"test_{name}.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if allowed is not None:
        environment[VARIABLE] = allowed
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.skips", "-p", "no:cacheprovider", "-rA"]
    command += ["--continue-on-collection-errors", "--rootdir", str(directory), str(directory)]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True).stdout


def test_a_skip_that_is_not_allowed_fails_and_says_why(tmp_path: Path) -> None:
    said = run(tmp_path, "no IPv6|no python")
    assert "1 failed, 1 skipped, 1 xfailed, 3 errors" in said  # skipped before the test itself is an error
    assert said.count("This may not be skipped here") >= 4


def test_a_person_may_skip_what_this_machine_lacks(tmp_path: Path) -> None:
    assert "5 skipped, 1 xfailed" in run(tmp_path, None)
