"""The chart, rendered and linted by the real Helm engine, its objects checked against Kubernetes' schemas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import helm_python
import kubernetes_validate
import pytest
import yaml

from runstream_service.artifacts.paths import NO_ARTIFACTS
from runstream_service.auth.fetcher import POD_DIRECTORY
from tests.deploy.chart import (
    CHART,
    INSTALLATIONS,
    Values,
    container,
    environment,
    hooks,
    objects,
    one,
    pod,
    templates,
)
from tests.support.grafana import DASHBOARDS
from tests.support.prometheus import RULES

OLDEST, NEWEST = "1.30", "1.37"
THEIRS = {
    "ServiceMonitor",
    "PrometheusRule",
    "HTTPRoute",
    "GRPCRoute",
}  # kinds that others define; they have tests of their own below
each_installation = pytest.mark.parametrize("values", INSTALLATIONS.values(), ids=INSTALLATIONS.keys())


@each_installation
def test_the_linter_has_no_complaints(values: Values) -> None:
    report = helm_python.lint(CHART, values, strict=True, kube_version=f"v{OLDEST}.0")
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@each_installation
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object(values: Values, version: str) -> None:
    for thing in objects(values) + hooks(values):
        if thing["kind"] not in THEIRS:
            takes(version, json.dumps(thing))


@cache
def takes(version: str, thing: str) -> None:
    """Validates an object; cached, since many installations have objects in common."""
    assert kubernetes_validate.validate(json.loads(thing), version, strict=True) == version


def test_a_plain_installation_has_what_it_needs() -> None:
    kinds = sorted(thing["kind"] for thing in objects({}))
    assert kinds == [
        "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "Service", "Service",
        "ServiceAccount",
    ]  # fmt: skip
    names = {thing["metadata"]["name"] for thing in objects({}) if thing["kind"] == "Service"}
    assert names == {"runstream-grpc", "runstream-headless", "runstream-http", "runstream-monitoring"}


def test_two_releases_have_no_name_in_common() -> None:
    def names(release: str) -> set[tuple[str, str]]:
        return {(thing["kind"], thing["metadata"]["name"]) for thing in objects({}, release)}

    assert not names("one") & names("two")


# -- the pod -----------------------------------------------------------------------------------------------------------


@each_installation
def test_pods_keep_to_the_restricted_standard(values: Values) -> None:
    (test,) = (thing["spec"] for thing in hooks(values) if thing["kind"] == "Pod")
    for spec in (pod(values), test):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        # Nobody in particular, as OpenShift wants it, or one who is not root.
        assert {security.get("runAsUser"), security.get("fsGroup")} in ({None}, {10001})
        assert (security.get("runAsUser") is None) == (values.get("podSecurity") == {"userId": 0})
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        (inside,) = spec["containers"]
        assert inside["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_installation
def test_what_the_service_writes_is_on_a_volume(values: Values) -> None:
    mounts = {mount["mountPath"] for mount in container(values)["volumeMounts"]}
    given = environment(values)
    assert "/tmp" in mounts
    assert given["RUNSTREAM_DATA_DIR"].startswith("/tmp/")
    assert given["HOME"] == "/tmp"
    kind = values.get("artifacts", {}).get("kind", "none")
    if kind in ("none", "url"):
        assert given["RUNSTREAM_ARTIFACTS"] == {"none": NO_ARTIFACTS, "url": "s3://bucket/runstream"}[kind]
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
    assert given["RUNSTREAM_MONITORING_LISTEN"].endswith(f":{ports['monitoring']}")
    for probe in ("startupProbe", "readinessProbe"):
        assert inside[probe]["httpGet"] == {"path": "/readyz", "port": "monitoring"}
    for service in (thing for thing in objects(values) if thing["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_liveness_does_not_ask_for_the_database() -> None:
    """tests/acceptance/test_serve.py takes the database away, and asks for this page."""
    assert container({})["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "monitoring"}


def test_certificate_key_and_authorities_are_files_of_one_volume() -> None:
    """The kubelet replaces a volume in one step."""
    given, inside = environment(INSTALLATIONS["tls"]), container(INSTALLATIONS["tls"])
    (mount,) = (mount for mount in inside["volumeMounts"] if mount["name"] == "tls")
    (volume,) = (volume for volume in pod(INSTALLATIONS["tls"])["volumes"] if volume["name"] == "tls")
    sources = volume["projected"]["sources"]
    assert [source["secret"]["name"] for source in sources] == ["runstream-tls", "clients"]
    assert [item["key"] for source in sources for item in source["secret"]["items"]] == [
        *("tls.crt", "tls.key", "bundle.pem"),
    ]
    files = {f"{mount['mountPath']}/{item['path']}" for source in sources for item in source["secret"]["items"]}
    assert files == {given[f"RUNSTREAM_SERVER_{name}"] for name in ("CERTIFICATE", "KEY", "CLIENT_CA")}


def test_the_secret_of_the_provider_is_a_file_and_the_pods_token_is_there_for_the_clusters_keys() -> None:
    values: Values = {
        **INSTALLATIONS["identities"],
        "auth": {
            **INSTALLATIONS["identities"]["auth"],
            "oidc": {**INSTALLATIONS["identities"]["auth"]["oidc"], "existingSecret": "oidc-client", "key": "secret"},
        },
    }
    volumes = {volume["name"]: volume for volume in pod(values)["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(values)["volumeMounts"]}
    (item,) = volumes["oidc"]["secret"]["items"]
    assert (volumes["oidc"]["secret"]["secretName"], item["key"]) == ("oidc-client", "secret")
    assert environment(values)["RUNSTREAM_OIDC_CLIENT_SECRET_FILE"] == f"{mounts['oidc']}/{item['path']}"
    assert mounts["cluster"] == str(POD_DIRECTORY)
    token, ca = volumes["cluster"]["projected"]["sources"]
    assert [token["serviceAccountToken"]["path"], ca["configMap"]["items"][0]["path"]] == ["token", "ca.crt"]
    assert "cluster" not in {volume["name"] for volume in pod({})["volumes"]}


def test_services_say_which_protocol_they_speak() -> None:
    def spoken(values: Values) -> set[str]:
        services = [thing for thing in objects(values) if thing["kind"] == "Service"]
        return {port["appProtocol"] for service in services for port in service["spec"]["ports"]}

    assert spoken({}) == {"kubernetes.io/h2c", "http"}
    assert spoken(INSTALLATIONS["tls"]) == {"https", "http"}, "http for monitoring"


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


def test_the_autoscaler_takes_one_replica_away_at_a_time() -> None:
    scaler = one("HorizontalPodAutoscaler", INSTALLATIONS["scaled"])["spec"]
    assert scaler["behavior"]["scaleDown"] == {
        "stabilizationWindowSeconds": 600,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }
    # What it takes a share of is requested.
    measured = [metric["resource"]["name"] for metric in scaler["metrics"] if metric["type"] == "Resource"]
    assert measured == ["cpu", "memory"]
    assert set(measured) <= container(INSTALLATIONS["scaled"])["resources"]["requests"].keys()


def test_a_node_can_be_drained_of_the_only_replica() -> None:
    for values in ({}, INSTALLATIONS["trial"]):
        budget = one("PodDisruptionBudget", values)["spec"]
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
        assert "minAvailable" not in budget


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


def test_the_service_monitor_finds_the_service_for_monitoring_alone() -> None:
    monitor = one("ServiceMonitor", INSTALLATIONS["bucket"])
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [thing for thing in objects(INSTALLATIONS["bucket"]) if thing["kind"] == "Service"]
    (found,) = (service for service in services if wanted <= service["metadata"]["labels"].items())
    assert found["spec"]["ports"][0]["name"] == monitor["spec"]["endpoints"][0]["port"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert found["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "runstream"


def test_the_rules_are_those_of_the_alerts() -> None:
    alerts = yaml.safe_load(RULES.read_text())["groups"]
    plain = one("PrometheusRule", {"prometheusRule": {"enabled": True}})
    assert plain["spec"] == {"groups": alerts}
    linked = one("PrometheusRule", INSTALLATIONS["bucket"])
    assert linked["metadata"]["labels"]["release"] == "prometheus"
    for group, ours in zip(linked["spec"]["groups"], alerts, strict=True):
        for rule, own in zip(group["rules"], ours["rules"], strict=True):
            url = rule["annotations"].pop("runbook_url")
            assert url == f"https://example.org/runbooks/{Path(own['annotations']['runbook']).name}"
            assert rule == own


def test_each_dashboard_is_a_config_map_that_a_sidecar_finds() -> None:
    maps = [thing for thing in objects(INSTALLATIONS["bucket"]) if thing["kind"] == "ConfigMap"]
    found = {name: text for each in maps for name, text in each["data"].items()}
    files = {f"runstream-{path.name}": path for path in DASHBOARDS.glob("*.json")}
    assert len(maps) == len(found) == len(files) == 3
    for name, path in files.items():
        assert json.loads(found[name]) == json.loads(path.read_text())
        assert len(found[name]) < 1_000_000  # a ConfigMap takes a mebibyte
    for each in maps:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"]["grafana_folder"] == "runstream"


def test_additional_values_of_the_chart_are_where_they_belong() -> None:
    values = INSTALLATIONS["bucket"]
    assert pod(values)["volumes"][-1] == values["extraVolumes"][0]
    assert container(values)["volumeMounts"][-1] == values["extraVolumeMounts"][0]
    assert pod(values)["initContainers"] == values["extraInitContainers"]
    pods = one("Deployment", values)["spec"]["template"]
    for metadata in [pods["metadata"], *(thing["metadata"] for thing in objects(values))]:
        assert metadata["labels"]["example.org/cost-centre"] == "42"
        assert metadata["labels"]["app.kubernetes.io/name"] == "runstream"  # what selectors find is not replaced
        assert metadata["annotations"]["example.org/reload"] == "true"


def test_a_load_balancer_lets_in_whom_the_values_name() -> None:
    found = [thing for thing in objects(INSTALLATIONS["scaled"]) if thing["kind"] == "Service"]
    services = {thing["metadata"]["name"]: thing["spec"] for thing in found}
    outside = services["runstream-grpc"]
    assert (outside["type"], outside["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert outside["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    inside = services["runstream-http"]
    assert inside["type"] == "ClusterIP"
    assert not {"externalTrafficPolicy", "loadBalancerSourceRanges"} & inside.keys()


def test_routes_of_a_gateway_lead_to_the_services() -> None:
    values = INSTALLATIONS["public"]
    ports = {
        thing["metadata"]["name"]: [port["port"] for port in thing["spec"]["ports"]]
        for thing in objects(values)
        if thing["kind"] == "Service"
    }
    for kind, hosts in (("HTTPRoute", "httpHosts"), ("GRPCRoute", "grpcHosts")):
        route = one(kind, values)
        assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
        assert route["spec"].keys() == {"parentRefs", "hostnames", "rules"}
        assert route["spec"]["parentRefs"] == values["gateway"]["parentRefs"]
        assert route["spec"]["hostnames"] == values["gateway"][hosts]
        ((backend,),) = (rule["backendRefs"] for rule in route["spec"]["rules"])
        assert backend["port"] in ports[backend["name"]]


# -- who reaches it ----------------------------------------------------------------------------------------------------


def test_nobody_reaches_the_pods_unless_values_name_them() -> None:
    policy = one("NetworkPolicy", {})["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 5432]


def test_who_is_named_reaches_what_is_meant_for_them() -> None:
    everything, http, monitoring = one("NetworkPolicy", INSTALLATIONS["bucket"])["spec"]["ingress"]
    assert [port["port"] for port in everything["ports"]] == [50051, 5000]
    assert everything["from"] == INSTALLATIONS["bucket"]["networkPolicy"]["allowFrom"]
    assert [port["port"] for port in http["ports"]] == [5000]
    assert [port["port"] for port in monitoring["ports"]] == [9464]


@each_installation
def test_the_pod_of_helm_test_is_let_in_while_it_runs(values: Values) -> None:
    (test,) = (thing for thing in hooks(values) if thing["kind"] == "Pod")
    policies = [thing for thing in hooks(values) if thing["kind"] == "NetworkPolicy"]
    assert len(policies) == values.get("networkPolicy", {}).get("enabled", True)
    for policy in policies:
        ((peer,),) = (rule["from"] for rule in policy["spec"]["ingress"])
        assert peer["podSelector"]["matchLabels"] == test["metadata"]["labels"]
        assert policy["spec"]["podSelector"] == one("NetworkPolicy", values)["spec"]["podSelector"]
        assert policy["metadata"]["annotations"]["helm.sh/hook-weight"] == "-1"  # before the pod
        assert "hook-succeeded" in policy["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    # It is none of the pods that the Services lead to.
    assert (
        not one("Deployment", values)["spec"]["selector"]["matchLabels"].items() <= test["metadata"]["labels"].items()
    )


@each_installation
def test_the_notes_say_who_can_come_in(values: Values) -> None:
    notes = templates(values)["NOTES.txt"]
    anonymous = values in (INSTALLATIONS["one pod"], INSTALLATIONS["public"])
    assert ("THERE IS NO AUTHENTICATION" in notes) == anonymous
    assert ("runstream token create --role admin --name admin" in notes) != anonymous
    assert ("tokens are sent over the network in plain text" in notes) == (
        not anonymous and values is not INSTALLATIONS["tls"]
    )
    assert ("MLFLOW_TRACKING_URI=https://" in notes) == (values is INSTALLATIONS["tls"])
    assert ("WARNING: networkPolicy.enabled is false" in notes) == (values is INSTALLATIONS["one pod"])
    assert ("WARNING: the Ingress opens" in notes) == (values is INSTALLATIONS["public"])
    assert ("WARNING: the routes of the Gateway" in notes) == (values is INSTALLATIONS["public"])
    assert ("WARNING: the load balancer accepts" in notes) == (values is INSTALLATIONS["trial"])
    assert ("are deleted with their pod" in notes) == (values is INSTALLATIONS["trial"])
    assert ("clients upload are refused" in notes) == ("artifacts" not in values)
