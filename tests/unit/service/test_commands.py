"""The command line starts fast, and configures gRPC before it is imported."""

from __future__ import annotations

import subprocess
import sys

SLOW = {"grpc", "numpy", "asyncpg", "mlflow", "rich", "structlog", "plotext"}
CODE = f"import sys, runstream.commands; print({SLOW} & set(sys.modules))"


def test_declaring_the_commands_imports_nothing_that_is_slow() -> None:
    assert subprocess.check_output([sys.executable, "-c", CODE], text=True) == "set()\n"
