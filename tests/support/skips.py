"""A plugin for CI: a test that is skipped fails there, unless its reason is one that was allowed. So a program that is
missing, or a network that is away, does not pass for a test.

`RUNSTREAM_ALLOWED_SKIPS` is a regular expression that is looked for in reasons; without it, any test may be skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

import pytest

VARIABLE = "RUNSTREAM_ALLOWED_SKIPS"


def _check(report: pytest.TestReport | pytest.CollectReport) -> None:
    allowed = os.environ.get(VARIABLE)
    if allowed is None or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not (allowed and re.search(allowed, reason)):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nThis may not be skipped here: {VARIABLE} is {allowed!r}."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip of a test, or of its fixtures, into a failure."""
    report = yield
    _check(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, Any]:
    """Turns a skip of a whole file into a failure."""
    report = yield
    _check(report)
    return report
