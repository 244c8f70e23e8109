"""Renders the chart with the real Helm engine."""

from __future__ import annotations

import json
from functools import cache
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
        "networkPolicy": {
            "allowFrom": [PEER],
            "allowHttpFrom": [{"podSelector": {}}],
            "allowMonitoringFrom": [PEER],
            "databaseTo": [PEER],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbooksUrl": "https://example.org/runbooks/",
        },
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "runstream"}},
        "serviceAccount": {"annotations": {"example.org/role": "bucket"}},
        "commonLabels": {"example.org/cost-centre": "42", "app.kubernetes.io/name": "never this"},
        "commonAnnotations": {"example.org/reload": "true"},
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "postgres-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/postgres-ca", "readOnly": True}],
        "extraInitContainers": [{"name": "proxy", "image": "proxy:1.0", "restartPolicy": "Always"}],
        "podSecurity": {"userId": 0},
    },
    "scaled": {
        "autoscaling": {
            "enabled": True,
            "targetMemoryPercent": 80,
            "extraMetrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "runstream_queue_points"},
                        "target": {"type": "AverageValue", "averageValue": "200k"},
                    },
                }
            ],
        },
        "artifacts": {"kind": "volume", "volume": {"storageClassName": "nfs"}},
        "settings": {"hotPointsMax": 10_000_000_000, "maxQueuedPoints": 1_000_000_000},
        "service": {
            "grpcType": "LoadBalancer",
            "annotations": {"example.org/internal": "true"},
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
            "externalTrafficPolicy": "Local",
        },
    },
    "one pod": {
        "replicas": 1,
        "fullnameOverride": "points",
        "artifacts": {"kind": "volume", "volume": {"accessMode": "ReadWriteOnce", "size": "1Ti"}},
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "networkPolicy": {"enabled": False},
        "auth": {"enabled": False},
        "serviceAccount": {"create": False},
    },
    "tls": {
        "tls": {"existingSecret": "runstream-tls", "clientCa": {"existingSecret": "clients", "key": "bundle.pem"}},
    },
    "identities": {
        "auth": {
            "oidc": {
                "issuer": "https://login.example.org/realms/main",
                "clientId": "runstream",
                "audiences": ["runstream", "api"],
                "grants": ["cn=speech,dc=example=team-a:write", "platform=*:admin"],
            },
            "kubernetes": {
                "issuer": "https://kubernetes.default.svc.cluster.local",
                "jwksUrl": "https://kubernetes.default.svc/openid/v1/jwks",
                "grants": ["ml-team=team-a:write", "*=*:read"],
            },
        },
        "settings": {"publicUrl": "https://runstream.example.org"},
    },
    "trial": {"replicas": 1, "artifacts": {"kind": "temporary"}, "service": {"httpType": "LoadBalancer"}},
    "public": {
        "auth": {"enabled": False},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": ["runstream.example.org", "*.runs.example.org"],
            "tls": [{"secretName": "runstream-tls", "hosts": ["runstream.example.org"]}],
        },
        "gateway": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways"}],
            "annotations": {"example.org/zone": "dmz"},
            "httpHosts": ["runs.example.org"],
            "grpcHosts": ["grpc.example.org"],
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
    return _templates(json.dumps(values), name)


def objects(values: Values, name: str = "runstream") -> list[Object]:
    """All objects that are installed. To be read, not changed."""
    return [thing for thing in _objects(json.dumps(values), name) if not _is_hook(thing)]


def hooks(values: Values) -> list[Object]:
    """The objects that `helm test` makes."""
    return [thing for thing in _objects(json.dumps(values), "runstream") if _is_hook(thing)]


def _is_hook(thing: Object) -> bool:
    return "helm.sh/hook" in thing["metadata"].get("annotations", {})


# The one in C, where there is one: most of the processor time of these tests was spent in the one in Python.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Many tests ask for the same installations.
@cache
def _templates(values: str, name: str) -> dict[str, str]:
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(json.loads(values), name=name, namespace="ml")
    return {path.removeprefix("runstream/templates/"): text for path, text in rendered.items()}


@cache
def _objects(values: str, name: str) -> list[Object]:
    texts = [text for path, text in _templates(values, name).items() if path.endswith(".yaml")]
    return [thing for text in texts for thing in yaml.load_all(text, _LOADER) if thing]


def one(kind: str, values: Values, name: str = "runstream") -> Object:
    """The only object of a kind."""
    (found,) = (candidate for candidate in objects(values, name) if candidate["kind"] == kind)
    return found


def pod(values: Values) -> Object:
    """The spec of the pods."""
    spec: Object = one("Deployment", values)["spec"]["template"]["spec"]
    return spec


def container(values: Values) -> Object:
    """The container of the service."""
    (found,) = pod(values)["containers"]
    return dict(found)


def environment(values: Values) -> dict[str, str]:
    """The variables of the container that have a plain value."""
    return {variable["name"]: variable["value"] for variable in container(values)["env"] if "value" in variable}
