"""A pod of a manifest as processes of this machine: its sidecars and its container, with the variables that Kubernetes
would set, and its volumes as directories."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.serve import command_environment

_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class Pod:
    """A context manager: the container, then the sidecars are told to end, as kubelet does it."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        folder: Path,
        *,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        secrets: Mapping[str, Mapping[str, str]],
        replaced: Mapping[str, str],
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._metadata = {"labels": labels, "annotations": annotations}
        self._secrets = secrets
        self._replaced = dict(replaced)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        mounted = {mount["mountPath"] for one in self._all() for mount in one["volumeMounts"]}
        for number, path in enumerate(sorted(mounted)):
            volume = folder / f"volume {number} of {id(self)}"
            volume.mkdir()
            self._replaced[path] = str(volume)

    def __enter__(self) -> Pod:
        for container in self._all():
            command = [sys.executable if part == "python" else part for part in container["command"]]
            environment = command_environment({one["name"]: self._value(one) for one in container["env"]})
            self._processes[container["name"]] = subprocess.Popen(command, cwd=self._folder, env=environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
            process.wait(self._spec["terminationGracePeriodSeconds"])

    def container(self, name: str) -> subprocess.Popen[bytes]:
        """The process of a container."""
        return self._processes[name]

    def wrote(self, text: str) -> bool:
        """Whether a file of a volume contains the text."""
        volumes = [Path(path) for path in self._replaced.values() if path.startswith("/")]
        return any(text.encode() in path.read_bytes() for one in volumes for path in one.rglob("*") if path.is_file())

    def _all(self) -> list[Mapping[str, Any]]:
        return [*self._spec["initContainers"], *self._spec["containers"]]

    def _value(self, variable: Mapping[str, Any]) -> str:
        if "value" in variable:
            return self._replaced.get(variable["value"], str(variable["value"]))
        source = variable["valueFrom"]
        if "secretKeyRef" in source:
            return self._secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        found = _FIELD.fullmatch(source["fieldRef"]["fieldPath"])
        assert found is not None, source
        return str(self._metadata[found[1]][found[2]])
