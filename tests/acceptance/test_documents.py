"""The documents are right: each command and snippet in them runs here, and their tables say what the code has.

How a block is covered depends on its language. `python` is run as a script; if its first line is a comment with the
name of a file, it is saved under that name for the commands that follow, and so is `yaml`. document_commands.py covers
each line of `bash`. `mermaid` is a picture. `sql`, and plans as `text`, are covered by tests/integration/test_view.py,
`nginx` by test_behind_nginx.py. Any other block fails.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import runstream
from runstream import _settings
from runstream.journal.directory import DEFAULT_LIMIT_BYTES
from runstream_service.errors import core as errors
from runstream_service.errors.statuses import status_of
from runstream_service.server.settings import OPTIONS
from tests.acceptance.document_commands import CLIENT, coverage_of, follow
from tests.support.databases import short_directory
from tests.support.document_reader import Reader
from tests.support.markdown import ROOT, Block, blocks_of, documents, links_of, table_of
from tests.support.serve import ServeProcess

OPERATIONS = ROOT / "docs" / "operations.md"
# The frameworks are installed elsewhere; tests/frameworks/test_document.py runs that document's blocks.
FRAMEWORKS = ROOT / "docs" / "frameworks.md"
WITH_BLOCKS = [document for document in documents() if blocks_of(document) and document != FRAMEWORKS]


# -- blocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block", [block for document in WITH_BLOCKS for block in blocks_of(document)], ids=lambda b: b.where
)
def test_every_block_is_covered(block: Block) -> None:
    known = ("python", "bash", "mermaid", "sql", "text", "yaml", "nginx")
    assert block.language in known, f"no test covers {block.where}"
    if block.language == "bash":
        assert all(coverage_of(line) for line in block.text.splitlines())
    if block.language == "yaml":
        assert re.match(r"# \w+\.yaml\n", block.text), f"{block.where} is not the file of a command"
    if named := re.match(r"# (\w+\.py)\n", block.text):
        followers = [other for other in blocks_of(ROOT / block.document) if other.line > block.line]
        assert any(f"python {named[1]}" in other.text for other in followers if other.language == "bash")


@pytest.mark.parametrize("document", WITH_BLOCKS, ids=lambda document: document.name)
def test_following_a_document_step_by_step_works(document: Path, serve: ServeProcess) -> None:
    with short_directory() as directory:
        reader = Reader(directory, serve, fresh=document.name == "README.md")
        with reader.ending:
            for block in blocks_of(document):
                follow(reader, block)
    if document.name == "README.md":
        assert "200 points stored" in reader.said[".venv/bin/python train.py"]
        assert "first FINISHED: 100 points of loss, the last one 0.01" in reader.said[".venv/bin/python read.py"]


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_links_lead_to_files(document: Path) -> None:
    assert [link for link in links_of(document) if not (document.parent / link).exists()] == []


def test_the_files_that_contributors_are_sent_to_exist() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    named = set(re.findall(r"`([\w./-]+\.(?:py|sql|toml|tpl|json|js))`", (ROOT / "CONTRIBUTING.md").read_text()))
    patterns = {"database/functions/NAME.sql", "database/views/NAME.sql", "database/migrations/NNNN_name.sql"}
    assert {one for one in named if not any(f"/{path}".endswith(f"/{one}") for path in tracked)} == patterns


def defined_names(path: Path) -> set[str]:
    """The functions, classes, methods (as Class.method) and constants of a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


def test_the_functions_that_contributors_are_sent_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(r"((?:`[\w.]+`(?: and |, )?)+) in `([\w/]+\.py)`", text)
    assert len(found) >= 7, "the table of where to look first names fewer functions than it did"
    service = ROOT / "service" / "runstream_service"
    for names, path in found:
        assert set(re.findall(r"`([\w.]+)`", names)) - defined_names(service / path) == set(), path


# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_settings_table_has_what_serve_takes() -> None:
    documented = {tuple(row[:3]) for row in table_of(OPERATIONS, "option")}
    assert documented == {
        *((option.flag, option.variable, option.default) for option in OPTIONS),
        ("--json-ready", "RUNSTREAM_JSON_READY", ""),
        ("--allow-anonymous", "RUNSTREAM_ALLOW_ANONYMOUS", ""),
    }


def test_the_metrics_table_has_what_the_service_shows(serve: ServeProcess) -> None:
    documented = {row[0]: (row[1], set(filter(None, row[2].split(", ")))) for row in table_of(OPERATIONS, "name")}
    families = {
        family.name + "_total" * (family.type == "counter"): family
        for family in text_string_to_metric_families(serve.get("/metrics")[1])
        if family.name.startswith("runstream_") and not family.name.endswith("_created")
    }
    assert {name: family.type for name, family in families.items()} == {
        name: kind for name, (kind, _) in documented.items()
    }
    for name, family in families.items():
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == documented[name][1], name


def test_the_table_of_logs_has_every_action_of_the_service() -> None:
    documented = {row[0]: set(row[1].split(", ")) for row in table_of(OPERATIONS, "action")}
    assert documented.pop("library_message") == {"any"}
    assert documented == logged_actions()


def logged_actions() -> dict[str, set[str]]:
    """Action -> levels of all calls of the form log.level(..., action="...")."""
    actions: dict[str, set[str]] = {}
    service = ROOT / "service" / "runstream_service"
    for path in service.rglob("*.py"):
        if path.relative_to(service).parts[0] == "demo":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                level = {"exception": "error"}.get(node.func.attr, node.func.attr)
                for keyword in node.keywords:
                    if keyword.arg == "action":
                        # One of two, where the value is a conditional expression.
                        for part in ast.walk(keyword.value):
                            if isinstance(part, ast.Constant):
                                actions.setdefault(str(part.value), set()).add(level)
    return actions


def test_the_table_of_statuses_has_every_error() -> None:
    documented = {row[0]: row[1] for row in table_of(OPERATIONS, "reason")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CoreError)]
    assert documented == {kind.reason: status_of(kind("")).grpc.name for kind in kinds if "reason" in vars(kind)}


def test_the_table_of_variables_has_what_the_client_reads() -> None:
    documented = {row[0]: row[1] for row in table_of(CLIENT, "variable")}
    client = ROOT / "client" / "runstream"
    read = {name for path in client.glob("*.py") for name in re.findall(r'"(RUNSTREAM_[A-Z_]+)"', path.read_text())}
    assert documented.keys() == read
    defaults = _settings.from_environment(None, {})
    assert documented == {
        "RUNSTREAM_ADDRESS": defaults.address,
        "RUNSTREAM_TOKEN": "",
        "RUNSTREAM_TOKEN_FILE": "",
        "RUNSTREAM_WORKSPACE": "",
        "RUNSTREAM_TLS_CA": "",
        "RUNSTREAM_TLS_CERT": "",
        "RUNSTREAM_TLS_KEY": "",
        "RUNSTREAM_RUN_ID": "",
        "RUNSTREAM_EXEC_RUN": "",
        "RUNSTREAM_ATTEMPT": "0",
        "RUNSTREAM_MODE": defaults.mode,
        "RUNSTREAM_AGENT": defaults.agent,
        "RUNSTREAM_DIR": "",
        "RUNSTREAM_DIR_BYTES": str(DEFAULT_LIMIT_BYTES),
        "RUNSTREAM_SYSTEM_METRICS": "0",
        "RUNSTREAM_BUFFER_POINTS": f"{defaults.max_points:.0f}",
        "RUNSTREAM_BUFFER_BYTES": f"{defaults.max_bytes:.0f}",
        "RUNSTREAM_EXIT_TIMEOUT_S": f"{defaults.exit_timeout_s:.0f}",
        "RUNSTREAM_HTTP_PROXY": "0",
    }


def test_the_table_of_stats_has_every_field() -> None:
    assert [row[0] for row in table_of(CLIENT, "field")] == list(runstream.RunStats._fields)
