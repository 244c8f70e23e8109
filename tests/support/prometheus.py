"""A real Prometheus that scrapes what a test runs."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runstream_bench.http_client import HttpClient
from tests.support.markdown import ROOT

RULES = ROOT / "deploy" / "monitoring" / "alerts.yml"

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is missing")


def metrics_named_in(text: str) -> set[str]:
    """Names of runstream's metrics; a histogram's series count as the histogram."""
    names = re.findall(r"\brunstream_\w+", text)
    return {re.sub(r"(_seconds|_points)_(bucket|sum|count)$", r"\1", name) for name in names}


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def numbers(self, expression: str, start: float, end: float) -> list[float]:
        """The samples of an expression in a range of Unix seconds, one a second."""
        answer = self._get("query_range", query=expression, start=str(start), end=str(end), step="1")
        found = [float(value) for series in answer["result"] for _, value in series["values"]]
        return [value for value in found if math.isfinite(value)]

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label of some series."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": selector})
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}

    def _get(self, path: str, **arguments: str) -> Any:
        with HttpClient(self.url, prefix="/api/v1/") as client:
            answer = client.get(path, arguments)
        assert answer.status == 200, answer.text
        return answer.body["data"]


@contextlib.contextmanager
def prometheus_of(directory: Path, target: str) -> Iterator[Prometheus]:
    """Starts a Prometheus that scrapes a service every second. It has our rules, with shorter waiting times."""
    (directory / "alerts.yml").write_text(re.sub(r"\bfor: \w+", "for: 2s", RULES.read_text()))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "runstream", "static_configs": [{"targets": [target]}]}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    log = directory / "prometheus.log"
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        listening = until(lambda: re.search(r'"Listening on" address=(\S+)', log.read_text()), 20)
        prometheus = Prometheus(f"http://{listening[1]}")
        until(lambda: "Server is ready" in log.read_text(), 20)
        yield prometheus
    finally:
        process.terminate()
        process.wait(10)


def until(look: Callable[[], Any], timeout_s: float) -> Any:
    """Calls `look` until it returns something; returns that."""
    give_up = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < give_up, look
        time.sleep(0.1)
    return found
