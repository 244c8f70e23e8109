"""Renders the chart with the real Helm engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import helm_python
import yaml

from tests.support.markdown import ROOT

CHART = ROOT / "deploy" / "helm" / "runstream"

Values = dict[str, Any]
Object = dict[str, Any]

PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "training"}}}

# Several installations, from nothing set to everything set.
INSTALLATIONS: dict[str, Values] = {
    "plain": {},
    "bucket": {
        "replicas": 5,
        "image": {"repository": "registry.example.org/ml/runstream", "digest": "sha256:" + "a" * 64},
        "artifacts": {"kind": "url", "url": "s3://bucket/runstream"},
        "networkPolicy": {"allowFrom": [PEER], "allowHttpFrom": [{"podSelector": {}}], "databaseTo": [PEER]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "serviceAccount": {"annotations": {"example.org/role": "bucket"}},
    },
    "scaled": {
        "autoscaling": {"enabled": True},
        "artifacts": {"kind": "volume", "volume": {"storageClassName": "nfs"}},
        "settings": {"hotRowsMax": 10_000_000_000, "maxQueuedPoints": 1_000_000_000},
        "service": {"grpcType": "LoadBalancer", "annotations": {"example.org/internal": "true"}},
    },
    "one pod": {
        "replicas": 1,
        "fullnameOverride": "points",
        "artifacts": {"kind": "volume", "volume": {"accessMode": "ReadWriteOnce", "size": "1Ti"}},
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
    },
    "public": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": ["runstream.example.org", "*.runs.example.org"],
            "tls": [{"secretName": "runstream-tls", "hosts": ["runstream.example.org"]}],
        },
        "settings": {"allowedHosts": ["old.example.org"], "listenAddress": "[::]"},
        "extraEnv": [
            {"name": "AWS_REGION", "value": "eu-central-1"},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "bucket", "key": "secret"}}},
        ],
        "envFrom": [{"secretRef": {"name": "bucket"}}],
        "podAnnotations": {"example.org/team": "ml"},
        "podLabels": {"team": "ml"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "ml", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "image": {"pullSecrets": [{"name": "mine"}]},
        "shutdown": {"preStopSleepSeconds": 0, "graceSeconds": 60, "marginSeconds": 5},
        "networkPolicy": {"extraEgress": [{"ports": [{"protocol": "TCP", "port": 9000}]}]},
        "topologySpread": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
    },
}


def templates(values: Values, name: str = "runstream") -> dict[str, str]:
    """File name -> text, for all templates."""
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(values, name=name, namespace="ml")
    return {path.removeprefix("runstream/templates/"): text for path, text in rendered.items()}


def objects(values: Values, name: str = "runstream") -> list[Object]:
    """All objects that are installed."""
    return list(_objects(templates(values, name)))


def _objects(rendered: dict[str, str]) -> Iterator[Object]:
    for path, text in rendered.items():
        if path.endswith(".yaml"):
            yield from filter(None, yaml.safe_load_all(text))


def one(kind: str, values: Values, name: str = "runstream") -> Object:
    """The only object of a kind."""
    (found,) = (candidate for candidate in objects(values, name) if candidate["kind"] == kind)
    return found


def pod(values: Values) -> Object:
    """The spec of the pods."""
    spec: Object = one("Deployment", values)["spec"]["template"]["spec"]
    return spec


def container(values: Values) -> Object:
    """The service's container."""
    (found,) = pod(values)["containers"]
    return dict(found)


def environment(values: Values) -> dict[str, str]:
    """Its variables that have a value of their own."""
    return {variable["name"]: variable["value"] for variable in container(values)["env"] if "value" in variable}
