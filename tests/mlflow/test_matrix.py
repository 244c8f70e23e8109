"""The tables of docs/mlflow.md say what the tests prove."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support import preloaded
from tests.support.stock import SCRIPT_MODULES, mlflow_environment

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_of_the_page_are_those_that_the_tests_give() -> None:
    command = [sys.executable, "tools/mlflow_matrix.py", "--check"]
    done = preloaded.run(command, mlflow_environment(), modules=SCRIPT_MODULES, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
