"""The chart, rendered and linted by the real Helm engine, its objects checked against Kubernetes' schemas."""

from __future__ import annotations

import re
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from runstream_service.logs import FORMATS, LEVELS
from runstream_service.settings import OPTIONS, read_settings
from tests.deploy.chart import CHART, INSTALLATIONS, Values, container, environment, objects, one, pod, templates

OLDEST, NEWEST = "1.30", "1.37"
each_installation = pytest.mark.parametrize("values", INSTALLATIONS.values(), ids=INSTALLATIONS.keys())


@each_installation
def test_the_linter_has_no_complaints(values: Values) -> None:
    report = helm_python.lint(CHART, values, strict=True, kube_version=f"v{OLDEST}.0")
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@each_installation
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object(values: Values, version: str) -> None:
    for thing in objects(values):
        if thing["kind"] != "ServiceMonitor":  # the operator's; below
            assert kubernetes_validate.validate(thing, version, strict=True) == version


def test_a_plain_installation_has_what_it_needs() -> None:
    kinds = sorted(thing["kind"] for thing in objects({}))
    assert kinds == [
        "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "Service", "ServiceAccount",
    ]  # fmt: skip
    names = {thing["metadata"]["name"] for thing in objects({}) if thing["kind"] == "Service"}
    assert names == {"runstream-grpc", "runstream-headless", "runstream-http"}


def test_two_releases_have_no_name_in_common() -> None:
    def names(release: str) -> set[tuple[str, str]]:
        return {(thing["kind"], thing["metadata"]["name"]) for thing in objects({}, release)}

    assert not names("one") & names("two")


# -- settings ----------------------------------------------------------------------------------------------------------


@each_installation
def test_every_variable_is_a_setting_of_the_service_and_its_value_is_taken(values: Values) -> None:
    flags = {option.variable: option.flag for option in OPTIONS}
    given = {name: value for name, value in environment(values).items() if name.startswith("RUNSTREAM_")}
    assert given.keys() <= flags.keys()
    read_settings({flags[name]: value for name, value in given.items()})


def test_without_values_the_settings_are_the_defaults_of_the_service() -> None:
    given = environment({})
    for option in OPTIONS:
        if option.flag not in PLACED and option.variable in given:
            assert given[option.variable] == option.default, option.flag


PLACED = {"--grpc-listen", "--http-listen", "--data-dir", "--artifacts", "--log-format"}  # what a pod has to set itself


def test_the_database_comes_from_a_secret_alone() -> None:
    values = {"database": {"existingSecret": "mine", "key": "dsn"}}
    (variable,) = (each for each in container(values)["env"] if each["name"] == "RUNSTREAM_DATABASE")
    assert variable == {
        "name": "RUNSTREAM_DATABASE",
        "valueFrom": {"secretKeyRef": {"name": "mine", "key": "dsn"}},
    }


def test_the_names_of_the_ingress_are_names_that_the_service_accepts() -> None:
    allowed = environment(INSTALLATIONS["public"])["RUNSTREAM_ALLOWED_HOSTS"]
    assert allowed == "runstream.example.org,*.runs.example.org,old.example.org"
    rules = one("Ingress", INSTALLATIONS["public"])["spec"]["rules"]
    assert [rule["host"] for rule in rules] == ["runstream.example.org", "*.runs.example.org"]


def test_large_numbers_are_written_out() -> None:
    given = environment(INSTALLATIONS["scaled"])
    assert given["RUNSTREAM_HOT_ROWS_MAX"] == "10000000000"
    assert given["RUNSTREAM_MAX_QUEUED_POINTS"] == "1000000000"


@pytest.mark.parametrize(("key", "known"), [("logLevel", LEVELS), ("logFormat", FORMATS)])
def test_the_schema_takes_only_words_that_the_service_takes(key: str, known: tuple[str, ...]) -> None:
    for word in schema()["properties"]["settings"]["properties"][key]["enum"]:
        assert word in known


def schema() -> dict[str, Any]:
    read = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert isinstance(read, dict)
    return read


# -- the pod -----------------------------------------------------------------------------------------------------------


@each_installation
def test_pods_keep_to_the_restricted_standard(values: Values) -> None:
    spec, inside = pod(values), container(values)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not any("hostPath" in volume for volume in spec["volumes"])


@each_installation
def test_what_the_service_writes_is_on_a_volume(values: Values) -> None:
    mounts = {mount["mountPath"] for mount in container(values)["volumeMounts"]}
    given = environment(values)
    assert "/tmp" in mounts
    assert given["RUNSTREAM_DATA_DIR"].startswith("/tmp/")
    assert given["HOME"] == "/tmp"
    if values.get("artifacts", {}).get("kind") == "url":
        assert given["RUNSTREAM_ARTIFACTS"] == "s3://bucket/runstream"
    else:
        assert given["RUNSTREAM_ARTIFACTS"] in mounts
    assert {mount["name"] for mount in container(values)["volumeMounts"]} == {v["name"] for v in pod(values)["volumes"]}


@each_installation
def test_grace_periods_add_up(values: Values) -> None:
    sleep = container(values).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = int(environment(values)["RUNSTREAM_SHUTDOWN_GRACE"])
    margin = pod(values)["terminationGracePeriodSeconds"] - sleep - grace
    assert margin == values.get("shutdown", {}).get("marginSeconds", 10)


@each_installation
def test_probes_ask_the_ports_that_the_service_listens_on(values: Values) -> None:
    inside, given = container(values), environment(values)
    ports = {port["name"]: port["containerPort"] for port in inside["ports"]}
    assert given["RUNSTREAM_GRPC_LISTEN"].endswith(f":{ports['grpc']}")
    assert given["RUNSTREAM_HTTP_LISTEN"].endswith(f":{ports['http']}")
    assert inside["startupProbe"]["grpc"] == inside["readinessProbe"]["grpc"] == {"port": ports["grpc"]}
    for service in (thing for thing in objects(values) if thing["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_liveness_does_not_ask_for_the_database() -> None:
    assert container({})["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_a_start_may_take_as_long_as_the_value_says() -> None:
    probe = container({"probes": {"startupSeconds": 1801}})["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 1801


def test_all_selectors_find_the_pods() -> None:
    values = {**INSTALLATIONS["bucket"], "podLabels": {"app.kubernetes.io/team": "ml"}}
    labels = one("Deployment", values)["spec"]["template"]["metadata"]["labels"].items()
    assert one("Deployment", values)["spec"]["selector"]["matchLabels"].items() <= labels
    for thing in objects(values):
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(thing["kind"])
        if selector is not None:
            assert selector(thing["spec"]).items() <= labels


# -- scaling, artifacts, monitoring ------------------------------------------------------------------------------------


def test_the_autoscaler_decides_on_replicas_when_there_is_one() -> None:
    assert "replicas" not in one("Deployment", INSTALLATIONS["scaled"])["spec"]
    scaler = one("HorizontalPodAutoscaler", INSTALLATIONS["scaled"])["spec"]
    assert scaler["scaleTargetRef"]["name"] == one("Deployment", INSTALLATIONS["scaled"])["metadata"]["name"]


def test_a_volume_that_one_pod_can_mount_is_let_go_before_the_next_pod_starts() -> None:
    assert one("Deployment", INSTALLATIONS["one pod"])["spec"]["strategy"] == {"type": "Recreate"}
    claim = one("PersistentVolumeClaim", INSTALLATIONS["one pod"])
    mounted = pod(INSTALLATIONS["one pod"])["volumes"][1]["persistentVolumeClaim"]
    assert mounted == {"claimName": claim["metadata"]["name"]}
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_a_claim_that_exists_is_used_and_none_is_made() -> None:
    values = {"artifacts": {"kind": "volume", "volume": {"existingClaim": "files"}}}
    assert pod(values)["volumes"][1]["persistentVolumeClaim"] == {"claimName": "files"}
    assert not any(thing["kind"] == "PersistentVolumeClaim" for thing in objects(values))


def test_the_service_monitor_finds_the_http_service_alone() -> None:
    monitor = one("ServiceMonitor", INSTALLATIONS["bucket"])
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [thing for thing in objects(INSTALLATIONS["bucket"]) if thing["kind"] == "Service"]
    (found,) = (service for service in services if wanted <= service["metadata"]["labels"].items())
    assert found["spec"]["ports"][0]["name"] == monitor["spec"]["endpoints"][0]["port"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert found["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "runstream"


# -- who reaches it ----------------------------------------------------------------------------------------------------


def test_nobody_reaches_the_pods_unless_values_name_them() -> None:
    policy = one("NetworkPolicy", {})["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 5432]


def test_who_is_named_reaches_what_is_meant_for_them() -> None:
    everything, http = one("NetworkPolicy", INSTALLATIONS["bucket"])["spec"]["ingress"]
    assert [port["port"] for port in everything["ports"]] == [50051, 5000]
    assert everything["from"] == INSTALLATIONS["bucket"]["networkPolicy"]["allowFrom"]
    assert [port["port"] for port in http["ports"]] == [5000]


@each_installation
def test_the_notes_say_that_there_is_no_authentication(values: Values) -> None:
    notes = templates(values)["NOTES.txt"]
    assert "THERE IS NO AUTHENTICATION AND NO TLS" in notes
    assert ("WARNING: networkPolicy.enabled is false" in notes) == (values is INSTALLATIONS["one pod"])
    assert ("WARNING: the Ingress opens" in notes) == (values is INSTALLATIONS["public"])
    temporary = values.get("artifacts", {}).get("kind", "temporary") == "temporary"
    assert ("are gone with their pod" in notes) == temporary


# -- wrong values ------------------------------------------------------------------------------------------------------

WRONG: list[tuple[Values, str]] = [
    ({"replica": 3}, "replica"),
    ({"replicas": "two"}, "/replicas"),
    ({"replicas": 0}, "/replicas"),
    ({"database": {"existingSecret": ""}}, "/database/existingSecret"),
    ({"database": {"existingSecret": None}}, "existingSecret"),
    ({"database": {"url": "postgresql://user:password@host/runstream"}}, "url"),
    ({"settings": {"maxQueuedPoints": 10}}, "/settings/maxQueuedPoints"),
    ({"settings": {"logLevel": "loud"}}, "/settings/logLevel"),
    ({"settings": {"allowedHosts": ["https://runstream.example.org"]}}, "/settings/allowedHosts/0"),
    ({"settings": {"poolSize": 2.5}}, "/settings/poolSize"),
    ({"shutdown": {"graceSeconds": -1}}, "/shutdown/graceSeconds"),
    ({"artifacts": {"kind": "disk"}}, "/artifacts/kind"),
    ({"artifacts": {"kind": "url"}}, "/artifacts/url"),
    ({"artifacts": {"kind": "url", "url": "ftp://bucket"}}, "/artifacts/url"),
    ({"artifacts": {"kind": "volume", "volume": {"accessMode": "ReadWriteOnce"}}}, "artifacts.volume.accessMode"),
    ({"autoscaling": {"enabled": True, "minReplicas": 9}}, "autoscaling.minReplicas"),
    ({"ingress": {"enabled": True}}, "/ingress/hosts"),
    ({"networkPolicy": {"allowFrom": [{}]}}, "/networkPolicy/allowFrom/0"),
    ({"networkPolicy": {"allowFrom": [{"namespace": "training"}]}}, "/networkPolicy/allowFrom/0"),
    ({"image": {"digest": "latest"}}, "/image/digest"),
    ({"extraEnv": {"AWS_REGION": "eu-central-1"}}, "/extraEnv"),
    ({"extraEnv": [{"name": "RUNSTREAM_DATABASE", "value": "x"}]}, "/extraEnv/0/name"),
    ({"podAnnotations": {"scrape": True}}, "/podAnnotations/scrape"),
    ({"resources": {"limits": {"memory": "much"}}}, "/resources/limits/memory"),
    ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
]


@pytest.mark.parametrize(("values", "field"), WRONG, ids=[re.sub(r"\W+", " ", str(values)) for values, _ in WRONG])
def test_a_wrong_value_is_refused_by_its_name(values: Values, field: str) -> None:
    with pytest.raises(helm_python.HelmError) as refusal:
        templates(values)
    assert field in str(refusal.value)


def test_every_value_has_a_place_in_the_schema_and_a_comment() -> None:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    assert places(values, schema()) == set()
    previous = ""
    for line in text.splitlines():
        # A group of values needs none of its own.
        if (found := re.match(r" *\w+:( .+)?$", line)) and found[1]:
            assert previous.lstrip().startswith("#"), f"no comment above {line}"
        previous = line


def places(values: Values, part: dict[str, Any]) -> set[str]:
    """Keys that the schema does not know, and those that it knows but values.yaml does not have."""
    known: dict[str, Any] | None = part.get("properties")
    if known is None:
        return set()
    odd = set(values) ^ (set(known) - {"global"})
    for key in values.keys() & known.keys():
        if isinstance(values[key], dict):
            odd |= {f"{key}.{name}" for name in places(values[key], known[key])}
    return odd
