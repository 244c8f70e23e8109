"""Writes the tables of docs/mlflow.md from the tests: `python tools/mlflow_matrix.py`; with --check it only compares.

A method counts as supported when a test below tests/mlflow calls it on MLflow's own client.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

PAGE = ROOT / "docs" / "mlflow.md"
TESTS = ROOT / "tests" / "mlflow"

OUT_OF_SCOPE = {
    "traces": r".*(trace|span).*",
    "webhooks": r".*webhook.*",
    "MCP servers": r".*mcp_.*",
    "evaluation datasets": r".*dataset.*",
}
GROUPS = {
    "Workspaces": r".*workspace.*",
    "Prompts": r".*prompt.*",
    "Model registry": r".*(registered_model|model_version|latest_versions|model_version_stages).*",
    "Logged models": r".*(logged_model|model_artifact|model_params|log_outputs).*",
    "Artifacts": r".*(artifact|log_(dict|figure|image|text|table|stream)|load_table).*",
    "Experiments": r".*experiment.*",
    "Runs": r".*",
}


def methods() -> list[str]:
    """The methods of MLflow's client, as installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
    client = mlflow.MlflowClient
    return sorted(name for name in dir(client) if not name.startswith("_") and callable(getattr(client, name)))


def tested() -> set[str]:
    """The methods that tests call on an object named client."""
    found: set[str] = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found.update(_called(function))
    return found


def support() -> str:
    """The table of methods."""
    by = tested()
    groups: dict[str, list[str]] = defaultdict(list)
    outside: dict[str, list[str]] = defaultdict(list)
    for name in methods():
        reason = next((what for what, pattern in OUT_OF_SCOPE.items() if re.fullmatch(pattern, name)), None)
        if reason is not None:
            outside[reason].append(name)
            continue
        group = next(group for group, pattern in GROUPS.items() if re.fullmatch(pattern, name))
        groups[group].append(f"| `{name}` | {'yes' if name in by else 'no: not tested'} |")
    lines: list[str] = []
    for group in sorted(groups):
        lines += [
            f"### {group}",
            "",
            "| method | supported |",
            "|---|---|",
            *groups[group],
            "",
        ]
    lines += ["### Out of scope", "", "| what | methods |", "|---|---|"]
    lines += [f"| {what} | {', '.join(f'`{name}`' for name in names)} |" for what, names in sorted(outside.items())]
    return "\n".join(lines)


def differences() -> str:
    """The table of intended differences."""
    from tests.mlflow.parity.differences import DIFFERENCES

    lines = ["| when | stock | runstream | why |", "|---|---|---|---|"]
    for row in DIFFERENCES:
        stock, ours = ("{} {}".format(*outcome).strip() for outcome in (row.stock, row.ours))
        lines.append(f"| {row.what} | {stock} | {ours} | {row.why} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with new tables between its marks."""
    for name, table in (("support", support()), ("differences", differences())):
        begin, end = f"<!-- {name}: written by tools/mlflow_matrix.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    """Returns the exit status: 1 if the page was stale and --check was given."""
    old = PAGE.read_text()
    new = page(old)
    if "--check" not in sys.argv:
        PAGE.write_text(new)
        return 0
    if old != new:
        print("docs/mlflow.md is stale: run python tools/mlflow_matrix.py")  # noqa: T201
    return int(old != new)


def _called(function: ast.AST) -> list[str]:
    """Names of methods called on `client`, `one.client` or a new MlflowClient(...)."""
    names = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            on = node.func.value
            name = on.func if isinstance(on, ast.Call) else on
            if ast.unparse(name).lower().endswith("client"):
                names.append(node.func.attr)
    return names


if __name__ == "__main__":
    sys.exit(main())
