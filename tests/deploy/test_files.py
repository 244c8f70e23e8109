"""Plain manifests, the Dockerfile and the compose file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml

from runstream_service.settings import OPTIONS
from tests.support.markdown import ROOT

DEPLOY = ROOT / "deploy"
VARIABLES = {option.variable for option in OPTIONS}


def test_the_manifests_are_as_the_chart_has_them() -> None:
    tool = ROOT / "tools" / "manifests.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_manifests_are_objects_of_kubernetes_without_a_trace_of_helm() -> None:
    files = {path.name for path in (DEPLOY / "manifests").iterdir()}
    listed = yaml.safe_load((DEPLOY / "manifests" / "kustomization.yaml").read_text())["resources"]
    assert files == {"kustomization.yaml", *listed}
    for name in listed:
        text = (DEPLOY / "manifests" / name).read_text()
        assert "managed-by" not in text
        assert "helm.sh/" not in text
        for thing in yaml.safe_load_all(text):
            kubernetes_validate.validate(thing, "1.30", strict=True)


def dockerfile() -> str:
    """Without comments, continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Dockerfile").read_text())
    return re.sub(r"\s*\\\n\s*", " ", text)


def test_the_image_is_pinned_and_its_user_is_not_root() -> None:
    assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(\S+)", dockerfile()) == ["python:3.12.11-slim-bookworm"]
    stages = re.findall(r"(?m)^FROM (\S+)", dockerfile())
    assert stages == ["${PYTHON_IMAGE}"] * 2
    assert re.findall(r"(?m)^USER (\S+)", dockerfile()) == ["10001:10001"]


def test_the_settings_of_the_image_exist_and_its_health_check_asks_where_it_listens() -> None:
    given = dict(re.findall(r"(RUNSTREAM_\w+)=(\S+)", dockerfile()))
    assert given.keys() <= VARIABLES
    assert f"127.0.0.1:{given['RUNSTREAM_HTTP_LISTEN'].rpartition(':')[2]}/readyz" in dockerfile()


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    copied = {name for line in re.findall(r"(?m)^COPY (?!--)(.*) \S+$", dockerfile()) for name in line.split()}
    kept = set(re.findall(r"(?m)^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text()))
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_steps_of_the_dockerfile_install_a_command_that_works(tmp_path: Path) -> None:
    """Its RUN lines of the first stage, with what it copies; dependencies are borrowed from the environment of the
    tests, so that nothing is downloaded."""
    source, wheels, environment = tmp_path / "source", tmp_path / "wheels", tmp_path / "environment"
    source.mkdir()
    first, _ = dockerfile().split("FROM ${PYTHON_IMAGE}\n", 1)
    for line in re.findall(r"(?m)^COPY (.*) \S+$", first):
        for name in line.split():
            (source / name).symlink_to(ROOT / name)
    steps = [step.strip() for step in re.findall(r"(?m)^RUN (.*)$", first)]
    assert len(steps) == 3
    for step in steps:
        command = step.replace("/wheels", str(wheels)).replace("/opt/runstream", str(environment))
        command = command.replace("pip wheel", "pip wheel --no-build-isolation").replace(
            "pip install", "pip install --no-deps"
        )
        if "-m venv" in command:
            command += " --without-pip"
        command = re.sub(rf"{environment}/bin/python -m pip|(?<!/)\bpython -m pip", f"{sys.executable} -m pip", command)
        command = re.sub(r"(?<!/)\bpython -m venv", f"{sys.executable} -m venv", command)
        command = command.replace("pip install", f"pip --python {environment}/bin/python install")
        subprocess.run(
            command, shell=True, cwd=source, check=True, capture_output=True, env={**os.environ, "EXTRAS": "server"}
        )
    (packages,) = environment.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    done = subprocess.run([environment / "bin" / "runstream", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"runstream, version \S+\n", done.stdout)
    where = subprocess.run(
        [environment / "bin" / "python", "-c", "import runstream_service; print(runstream_service.__file__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(packages))
    assert list((packages / "runstream_service" / "storage" / "migrations").glob("*.sql"))


def test_the_compose_file_names_what_exists() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert services.keys() == {"runstream", "postgres", "prometheus", "grafana"}
    assert {name for name in services["runstream"]["environment"] if name.startswith("RUNSTREAM_")} <= VARIABLES
    for service in services.values():
        assert re.search(r":v?\d+\.\d+", service["image"]), "pinned by version"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]
    build = services["runstream"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_prometheus_and_grafana_ask_services_of_the_compose_file() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    prometheus = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for group in job["static_configs"] for t in group["targets"]]
    assert targets == ["runstream:5000"]
    sources = yaml.safe_load((DEPLOY / "monitoring" / "grafana" / "datasources.yml").read_text())["datasources"]
    for source in sources:
        assert source["url"].removeprefix("http://").partition(":")[0] in services
