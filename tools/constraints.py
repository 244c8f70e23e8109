"""Writes constraints.txt: the version of every library that is installed here, in CI and in the image.

    python tools/constraints.py             after a change of dependencies: what is still allowed stays as it is
    python tools/constraints.py --upgrade   the newest of all; then run the tests
    python tools/constraints.py --check     fails if the file does not have what is needed

The versions hold for Python 3.11 and newer; where they differ, a line has a marker.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
FRAMEWORKS = ROOT / "tests" / "frameworks" / "requirements.txt"
_HEAD = "# What is installed for development, in CI and in the image; `python tools/constraints.py` writes this file.\n"


def requirements() -> list[str]:
    """Our distributions with all their extras, the groups of pyproject.toml, and what tests/frameworks needs."""
    ours = [f"-e ./{directory}[{','.join(extras_of(directory))}]" for directory in ("client", "service", "bench")]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    frameworks = f"-r {FRAMEWORKS.relative_to(ROOT)}"
    return [*ours, *(line for group in groups.values() for line in group), frameworks]


def extras_of(directory: str) -> list[str]:
    """The extras of a distribution."""
    project = tomllib.loads((ROOT / directory / "pyproject.toml").read_text())["project"]
    return list(project.get("optional-dependencies", ()))


def resolved(arguments: list[str]) -> str:
    """The text of the file, as uv resolves it; versions of today's file are kept where they may be."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "constraints.txt"
        output.write_text(CONSTRAINTS.read_text() if CONSTRAINTS.exists() else "")
        options = ["--universal", "--python-version", "3.11", "--no-header", "--no-annotate", "--quiet", *arguments]
        subprocess.run(  # noqa: S603 (our own options)
            [sys.executable, "-m", "uv", "pip", "compile", *options, "--output-file", output, "-"],
            input="\n".join(requirements()),
            cwd=ROOT,
            text=True,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        lines = output.read_text().splitlines(keepends=True)
    return _HEAD + "".join(line for line in lines if not line.startswith("-e "))


def main(arguments: list[str]) -> None:
    """Writes the file, or compares it."""
    text = resolved([argument for argument in arguments if argument != "--check"])
    if "--check" not in arguments:
        CONSTRAINTS.write_text(text)
    elif text != CONSTRAINTS.read_text():
        sys.exit("constraints.txt is stale: run python tools/constraints.py, then `make install`")


if __name__ == "__main__":
    main(sys.argv[1:])
