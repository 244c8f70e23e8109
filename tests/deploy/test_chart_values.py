"""The values of the chart: the settings that they become, and those that are refused."""

from __future__ import annotations

import json
import re
from typing import Any

import helm_python
import pytest
import yaml
from starlette.responses import PlainTextResponse

from runstream_service.errors.startup import StartupError
from runstream_service.http.origin_check import HostAndOriginCheck
from runstream_service.monitoring.logs import FORMATS, LEVELS
from runstream_service.server.settings import OPTIONS, read_settings
from tests.deploy.chart import (
    CHART,
    INSTALLATIONS,
    Values,
    container,
    environment,
    objects,
    one,
    templates,
)

each_installation = pytest.mark.parametrize("values", INSTALLATIONS.values(), ids=INSTALLATIONS.keys())


# -- settings ----------------------------------------------------------------------------------------------------------


@each_installation
def test_every_variable_is_a_setting_of_the_service_and_its_value_is_taken(values: Values) -> None:
    flags = {option.variable: option.flag for option in OPTIONS}
    given = {name: value for name, value in environment(values).items() if name.startswith("RUNSTREAM_")}
    assert (given.pop("RUNSTREAM_ALLOW_ANONYMOUS", None) == "true") == (given["RUNSTREAM_AUTH"] == "off")
    assert given.keys() <= flags.keys()
    read_settings({flags[name]: value for name, value in given.items()})


def test_every_setting_of_the_service_is_set_by_the_chart() -> None:
    given = [variable["name"] for variable in container({})["env"]]
    assert sorted(given) == sorted({"HOME", *(option.variable for option in OPTIONS)})


def schema() -> dict[str, Any]:
    read = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert isinstance(read, dict)
    return read


RANGES = {
    name: (part["minimum"], part["maximum"])
    for name, part in schema()["properties"]["settings"]["properties"].items()
    if part.get("type") == "integer"
}


@pytest.mark.parametrize("name", RANGES)
def test_a_number_among_the_settings_is_one_setting_with_the_range_of_the_service(name: str) -> None:
    usual, flags = environment({}), {option.variable: option.flag for option in OPTIONS}
    for value, too_far in zip(RANGES[name], (-1, 1), strict=True):
        given = environment({"settings": {name: value}, "probes": {"startupSeconds": 86_400}})
        if str(value) in usual.values() and given == usual:
            continue  # the range begins or ends with the default
        ((variable, text),) = given.items() - usual.items()
        assert text == str(value)
        read_settings({flags[variable]: text})
        with pytest.raises(StartupError):
            read_settings({flags[variable]: str(value + too_far)})


@pytest.mark.parametrize(
    ("values", "variable", "text"),
    [
        ({"settings": {"publicUrl": "https://runs.a"}}, "RUNSTREAM_PUBLIC_URL", "https://runs.a"),
        ({"settings": {"logLevel": "debug"}}, "RUNSTREAM_LOG_LEVEL", "debug"),
        ({"settings": {"logFormat": "text"}}, "RUNSTREAM_LOG_FORMAT", "text"),
        (
            {"settings": {"allowedHosts": ["a.example.org", "*.b"]}},
            "RUNSTREAM_ALLOWED_HOSTS",
            "runstream-http.ml,a.example.org,*.b",
        ),
        (
            {"settings": {"trustedProxies": ["10.244.0.0/16", "fd00::7"]}},
            "RUNSTREAM_TRUSTED_PROXIES",
            "10.244.0.0/16,fd00::7",
        ),
        ({"settings": {"pathPrefix": "/ml/runs"}}, "RUNSTREAM_PATH_PREFIX", "/ml/runs"),
        ({"shutdown": {"graceSeconds": 45}}, "RUNSTREAM_SHUTDOWN_GRACE", "45"),
        ({"artifacts": {"kind": "volume"}}, "RUNSTREAM_ARTIFACTS", "/artifacts"),
        ({"artifacts": {"kind": "url", "url": "gs://bucket/files"}}, "RUNSTREAM_ARTIFACTS", "gs://bucket/files"),
        ({"extraEnv": [{"name": "RUNSTREAM_JSON_READY", "value": "1"}]}, "RUNSTREAM_JSON_READY", "1"),
    ],
)
def test_another_value_is_one_setting(values: Values, variable: str, text: str) -> None:
    assert environment(values).items() - environment({}).items() == {(variable, text)}


def test_without_values_the_settings_are_the_defaults_of_the_service() -> None:
    given = environment({})
    for option in OPTIONS:
        if option.flag not in PLACED and option.variable in given:
            assert given[option.variable] == option.default, option.flag


# What a pod has to set itself.
PLACED = {
    *("--auth", "--grpc-listen", "--http-listen", "--monitoring-listen"),
    *("--allowed-hosts", "--data-dir", "--artifacts", "--log-format"),
}


def test_the_database_comes_from_a_secret_alone() -> None:
    values = {"database": {"existingSecret": "mine", "key": "dsn"}}
    (variable,) = (each for each in container(values)["env"] if each["name"] == "RUNSTREAM_DATABASE")
    assert variable == {
        "name": "RUNSTREAM_DATABASE",
        "valueFrom": {"secretKeyRef": {"name": "mine", "key": "dsn"}},
    }


def test_the_names_of_the_ingress_are_names_that_the_service_accepts() -> None:
    allowed = environment(INSTALLATIONS["public"])["RUNSTREAM_ALLOWED_HOSTS"]
    assert allowed == "runstream-http.ml,runstream.example.org,*.runs.example.org,runs.example.org,old.example.org"
    rules = one("Ingress", INSTALLATIONS["public"])["spec"]["rules"]
    assert [rule["host"] for rule in rules] == ["runstream.example.org", "*.runs.example.org"]


async def test_the_service_is_known_by_all_names_that_it_has_in_the_cluster() -> None:
    names = [thing["metadata"]["name"] for thing in objects({}) if thing["kind"] == "Service"]
    (name,), namespace = [name for name in names if name.endswith("-http")], "ml"
    guard = HostAndOriginCheck(PlainTextResponse("fine"), environment({})["RUNSTREAM_ALLOWED_HOSTS"].split(","))
    for host in (name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"):
        assert await status_under(guard, f"{host}:5000") == 200, host
    assert await status_under(guard, f"{name}.elsewhere:5000") == 403


async def status_under(guard: HostAndOriginCheck, host: str) -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode())]}
    await guard(scope, receive, send)
    return int(sent[0]["status"])


def test_a_prefix_is_that_of_the_routes_too() -> None:
    values = {
        "settings": {"pathPrefix": "/ml"},
        "ingress": {"enabled": True, "hosts": ["a.example.org"]},
        "gateway": {"enabled": True, "parentRefs": [{"name": "public"}], "httpHosts": ["a.example.org"]},
    }
    (rule,) = one("Ingress", values)["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/ml"]
    (rule,) = one("HTTPRoute", values)["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/ml"}}]


def test_large_numbers_are_written_out() -> None:
    given = environment(INSTALLATIONS["scaled"])
    assert given["RUNSTREAM_HOT_POINTS_MAX"] == "10000000000"
    assert given["RUNSTREAM_MAX_QUEUED_POINTS"] == "1000000000"


@pytest.mark.parametrize(("key", "known"), [("logLevel", LEVELS), ("logFormat", FORMATS)])
def test_the_schema_takes_only_words_that_the_service_takes(key: str, known: tuple[str, ...]) -> None:
    for word in schema()["properties"]["settings"]["properties"][key]["enum"]:
        assert word in known


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
    ({"settings": {"trustedProxies": ["ingress-nginx"]}}, "/settings/trustedProxies/0"),
    ({"settings": {"pathPrefix": "runs/"}}, "/settings/pathPrefix"),
    ({"settings": {"poolSize": 2.5}}, "/settings/poolSize"),
    ({"settings": {"silentRunAfterSeconds": 30}}, "/settings/silentRunAfterSeconds"),
    ({"tls": {"existingSecret": "-"}}, "/tls/existingSecret"),
    ({"tls": {"clientCa": {"existingSecret": "clients"}}}, "tls.existingSecret: "),
    ({"shutdown": {"graceSeconds": -1}}, "/shutdown/graceSeconds"),
    ({"settings": {"databaseWaitSeconds": 900}}, "probes.startupSeconds"),
    ({"artifacts": {"kind": "disk"}}, "/artifacts/kind"),
    ({"artifacts": {"kind": "url"}}, "/artifacts/url"),
    ({"artifacts": {"kind": "url", "url": "ftp://bucket"}}, "/artifacts/url"),
    ({"artifacts": {"kind": "volume", "volume": {"accessMode": "ReadWriteOnce"}}}, "artifacts.volume.accessMode"),
    ({"artifacts": {"kind": "temporary"}}, "artifacts.kind: temporary"),
    ({"artifacts": {"kind": "temporary"}, "autoscaling": {"enabled": True}}, "there may be 6 replicas"),
    ({"autoscaling": {"enabled": True, "minReplicas": 9}}, "autoscaling.minReplicas"),
    ({"ingress": {"enabled": True}}, "/ingress/hosts"),
    ({"networkPolicy": {"allowFrom": [{}]}}, "/networkPolicy/allowFrom/0"),
    ({"networkPolicy": {"allowFrom": [{"namespace": "training"}]}}, "/networkPolicy/allowFrom/0"),
    ({"image": {"digest": "latest"}}, "/image/digest"),
    ({"extraEnv": {"AWS_REGION": "eu-central-1"}}, "/extraEnv"),
    ({"extraEnv": [{"name": "RUNSTREAM_DATABASE", "value": "x"}]}, "extraEnv[0].name: RUNSTREAM_DATABASE"),
    ({"extraVolumes": [{"secret": {"secretName": "ca"}}]}, "/extraVolumes/0"),
    ({"replicas": None}, "replicas"),
    ({"service": {"loadBalancerSourceRanges": ["10.0.0.1"]}}, "/service/loadBalancerSourceRanges/0"),
    ({"gateway": {"enabled": True}}, "/gateway/parentRefs"),
    ({"gateway": {"enabled": True, "parentRefs": [{"name": "public"}]}}, "gateway.httpHosts"),
    ({"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}, "resources.requests.cpu"),
    ({"podAnnotations": {"scrape": True}}, "/podAnnotations/scrape"),
    ({"resources": {"limits": {"memory": "much"}}}, "/resources/limits/memory"),
    ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
    ({"prometheusRule": {"runbooksUrl": "deploy/monitoring/runbooks"}}, "/prometheusRule/runbooksUrl"),
    ({"dashboards": {"labels": {"grafana_dashboard": 1}}}, "/dashboards/labels/grafana_dashboard"),
]


@pytest.mark.parametrize(("values", "field"), WRONG, ids=[re.sub(r"\W+", " ", str(values)) for values, _ in WRONG])
def test_a_wrong_value_is_refused_by_its_name(values: Values, field: str) -> None:
    with pytest.raises(helm_python.HelmError) as refusal:
        templates(values)
    assert field in str(refusal.value)


PATTERN = re.compile(r"\^\((?P<example>[^|()]+)\|(?P<rest>.+)\)(?P<optional>\??)\$")


def test_every_pattern_begins_with_an_example_that_is_right() -> None:
    """Helm prints the pattern when a value does not match it."""
    patterns = re.findall(r'"pattern": (".*?[^\\]")', (CHART / "values.schema.json").read_text())
    assert len(patterns) > 15
    for pattern in map(json.loads, patterns):
        found = PATTERN.fullmatch(pattern)
        assert found, pattern
        assert re.fullmatch(found["rest"], found["example"]), pattern


def test_a_wrong_value_is_refused_with_a_right_example() -> None:
    wrong: list[tuple[Values, str]] = [
        ({"resources": {"limits": {"memory": "2 gigabytes"}}}, "512Mi"),
        ({"artifacts": {"kind": "url", "url": "bucket/prefix"}}, "s3://bucket/prefix"),
        ({"artifacts": {"kind": "temporary"}}, "artifacts.kind: url with artifacts.url: s3://bucket/prefix"),
        ({"settings": {"logLevel": "loud"}}, "'debug', 'info', 'warning', 'error'"),
        ({"replicas": -1}, "want 1"),
    ]
    for values, example in wrong:
        with pytest.raises(helm_python.HelmError, match=re.escape(example)):
            templates(values)


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
    """Keys that the schema does not know, does not ask for (so that null would go through), or has too many."""
    known: dict[str, Any] | None = part.get("properties")
    if known is None:
        return set()
    odd = set(values) ^ (set(known) - {"global"}) | set(values) ^ set(part["required"])
    for key in values.keys() & known.keys():
        if isinstance(values[key], dict):
            odd |= {f"{key}.{name}" for name in places(values[key], known[key])}
    return odd
