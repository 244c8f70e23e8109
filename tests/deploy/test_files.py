"""Plain manifests and the compose file. The image is in test_image.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from runstream._version import VERSION
from runstream_service.server.settings import OPTIONS
from tests.support.markdown import ROOT

DEPLOY = ROOT / "deploy"
DISTRIBUTIONS = ("client", "service", "bench")
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


def test_the_compose_file_names_what_exists() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert services.keys() == {"runstream", "postgres", "prometheus", "grafana"}
    assert {name for name in services["runstream"]["environment"] if name.startswith("RUNSTREAM_")} <= {
        *VARIABLES,
        "RUNSTREAM_ALLOW_ANONYMOUS",
    }
    for service in services.values():
        assert re.search(r":v?\d+\.\d+", service["image"]), "pinned by version"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]
        assert "healthcheck" in service or service is services["runstream"]  # whose image has one
    build = services["runstream"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_the_compose_file_is_one_by_the_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    command = [*check, str(DEPLOY / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_all_of_it_is_of_one_version() -> None:
    chart = yaml.safe_load((DEPLOY / "helm" / "runstream" / "Chart.yaml").read_text())
    image = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["runstream"]["image"]
    built = re.findall(r"-t runstream:(\S+)", (DEPLOY / "Dockerfile").read_text())
    projects = "".join((ROOT / directory / "pyproject.toml").read_text() for directory in DISTRIBUTIONS)
    packages = re.findall(r'(?m)^version = "(.+)"$', projects)
    each_other = re.findall(r'"runstream(?:-server)?(?:\[.*\])?==(.+)"', projects)
    assert (len(packages), len(each_other)) == (3, 5)
    deployed = {chart["version"], chart["appVersion"], image.removeprefix("runstream:"), *built}
    assert {*deployed, *packages, *each_other} == {VERSION}


def test_all_packages_have_the_license() -> None:
    texts = {(ROOT / place / "LICENSE").read_text() for place in ("", *DISTRIBUTIONS)}
    assert len(texts) == 1


def test_the_service_may_end_in_time_before_it_is_killed() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["runstream"]
    given = {option.variable: option.default for option in OPTIONS} | service["environment"]
    period = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    assert period
    assert int(period[1]) >= float(given["RUNSTREAM_SHUTDOWN_GRACE"]) + 5


def test_prometheus_and_grafana_ask_services_of_the_compose_file() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    prometheus = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for group in job["static_configs"] for t in group["targets"]]
    assert targets == ["runstream:9464"]
    for source in provisioned("datasources"):
        assert source["url"].removeprefix("http://").partition(":")[0] in services


def test_grafana_finds_the_dashboards_and_sources_of_the_kinds_that_they_ask_for() -> None:
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    mounted = dict(volume.split(":")[1::-1] for volume in grafana["volumes"])
    for kind in ("datasources", "dashboards"):
        assert mounted[f"/etc/grafana/provisioning/{kind}"] == f"./monitoring/grafana/provisioning/{kind}"
    (provider,) = provisioned("providers", "dashboards")
    shown = DEPLOY / mounted[provider["options"]["path"]]
    boards = [json.loads(path.read_text()) for path in shown.glob("*.json")]
    assert len(boards) == 3
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (shown / Path(home).relative_to(provider["options"]["path"])).is_file()
    variables = [one for board in boards for one in board["templating"].get("list", [])]
    asked = {variable["query"] for variable in variables if variable["type"] == "datasource"}
    assert asked == {source["type"] for source in provisioned("datasources")}


def provisioned(kind: str, directory: str = "") -> list[dict[str, Any]]:
    """The data sources and dashboards with which Grafana starts."""
    files = DEPLOY / "monitoring" / "grafana" / "provisioning" / (directory or kind)
    return [one for path in files.glob("*.yml") for one in yaml.safe_load(path.read_text())[kind]]
