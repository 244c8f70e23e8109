"""The packages of the service are in layers, and CONTRIBUTING.md lists them from the top to the bottom."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import runstream
import runstream_bench
import runstream_service

PACKAGE = Path(runstream_service.__file__).parent
BENCH = Path(runstream_bench.__file__).parent
DOCUMENT = Path(__file__).parents[3] / "CONTRIBUTING.md"


def documented_layers() -> list[list[str]]:
    """The packages of each line of the table, from the top to the bottom."""
    section = DOCUMENT.read_text().partition("\n### The service\n")[2].partition("\n### ")[0]
    lines = re.findall(r"^\| [^|]+ \| ((?:`\w+/`(?:, )?)+) \|", section, re.MULTILINE)
    return [re.findall(r"`(\w+)/`", line) for line in lines]


def imports_at_run_time(path: Path) -> Iterator[str]:
    """The packages of the service that a module imports, wherever in it, except for types alone."""
    yield from (name.split(".")[1] for name in imported(path) if name.startswith("runstream_service."))


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """What a module imports, wherever in it, except for types alone; each with the name that is taken from it."""
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        for statements in ("body", "orelse", "finalbody", "handlers", "cases"):  # no expression contains an import
            waiting += getattr(node, statements, ())
    return tuple(found)


def test_the_top_level_has_packages_alone_and_the_table_has_all_of_them() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    documented = [name for layer in documented_layers() for name in layer]
    assert sorted(documented) == sorted(packages)


def test_a_package_imports_only_itself_and_the_layers_below() -> None:
    layers = documented_layers()
    height = {name: -number for number, layer in enumerate(layers) for name in layer}
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[0]
        if package not in height:
            continue
        for other in imports_at_run_time(path):
            seen += 1
            is_below = height[other] < height[package]
            assert is_below or other == package, f"{path} imports {other}/, which is not below {package}/"
    assert seen > 1_000, "the imports of the service were not found"


def test_nothing_that_users_install_imports_the_benchmark() -> None:
    installed = [PACKAGE, Path(runstream.__file__).parent]
    paths = [path for package in installed for path in package.rglob("*.py")]
    assert len(paths) > 500
    assert {path for path in paths for name in imported(path) if name.startswith("runstream_bench")} == set()


def packages() -> list[Path]:
    both = [path.parent for package in (PACKAGE, BENCH) for path in package.rglob("__init__.py")]
    return sorted(path for path in both if path != PACKAGE)


@pytest.mark.parametrize("package", packages(), ids=lambda path: "/".join(path.parts[len(PACKAGE.parts) - 1 :]))
def test_the_reading_order_of_a_package_has_all_of_its_modules(package: Path) -> None:
    documented = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    inner = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert {name for name in modules | inner if not re.search(rf"(?<!\w){re.escape(name)}", documented)} == set()
