"""Computes the network policies from the contracts: a pod reaches another just where its service may call a method there.

Envoy and the bridge reach public listeners, since they bring users' calls; internal listeners are reached by those that
some method lists among its callers. The operator comes through the API server and needs no policy.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from svc_common.contracts import internal_callers
from svc_common.registry import BRIDGE_NAME, OPERATOR_NAME, SERVICES, Need, service_of

PUBLIC_PORT: Final = 8000
INTERNAL_PORT: Final = 8100
SCALER_PORT: Final = 8200
BRIDGE_PORT: Final = 8006
_EDGE_PORT: Final = 8443
_EDGE_STATUS_PORT: Final = 9901

CALLERS_FILE: Final = Path(__file__).resolve().parents[2] / "k8s" / "base" / "network" / "callers.yaml"
_HEAD: Final = (
    "# Generated from the contracts by `python -m studio.manifests generate`; a test compares. Don't edit it.\n"
)
_EDGE: Final = "envoy"
_BRIDGE: Final = "edge-http"
_WORKER: Final = "gpu-worker"
_VPC: Final = "10.0.0.0/16"
_LINK_LOCAL: Final = "169.254.0.0/16"
_POSTGRESQL: Final = (5432,)
# Redis, its Sentinels, and its TLS port.
_REDIS: Final = (6379, 6380, 26379)
_HTTPS: Final = (443,)
_MAIL: Final = (465, 587)


def policies(descriptor_set: bytes) -> list[dict[str, Any]]:
    """Returns the policies of all pods, in the order of their names."""
    callers = callers_of_services(descriptor_set)
    services = {name_of(service.name) for service in SERVICES}
    made = [_service(service, callers.get(service, frozenset())) for service in sorted(services)]
    made.append(_policy(_BRIDGE, ingress=[_from([_EDGE], BRIDGE_PORT)]))
    made.append(_policy(_EDGE, ingress=[{"ports": _ports((_EDGE_PORT, _EDGE_STATUS_PORT))}]))
    egress = {pod: _calls(pod, callers) for pod in (*services, _BRIDGE, _EDGE, _WORKER)}
    for pod in (_EDGE, _BRIDGE):
        egress[pod] += [_to([service], PUBLIC_PORT) for service in sorted(services)]
    egress[_EDGE].append(_to([_BRIDGE], BRIDGE_PORT))
    for pod in services:
        egress[pod] += [_outside(_POSTGRESQL, inside=True), _outside(_REDIS, inside=True), _outside(_HTTPS)]
    for service in SERVICES:
        if Need.MAIL in service.needs:
            egress[name_of(service.name)].append(_outside(_MAIL))
    egress[_WORKER] += [_outside(_REDIS, inside=True), _outside(_HTTPS)]
    egress["migrations"] = [_outside(_POSTGRESQL, inside=True)]
    made += [_policy(f"{pod}-out", pod=pod, egress=rules) for pod, rules in egress.items()]
    return sorted(made, key=lambda policy: str(policy["metadata"]["name"]))


def callers_of_services(descriptor_set: bytes) -> Mapping[str, frozenset[str]]:
    """Returns for each service the pods that may call its internal listener."""
    callers: dict[str, frozenset[str]] = {}
    for area, names in internal_callers(descriptor_set).items():
        service = name_of(service_of(area).name)
        pods = frozenset(name_of(name) for name in names if name != OPERATOR_NAME)
        callers[service] = callers.get(service, frozenset()) | pods
    return callers


def name_of(process: str) -> str:
    """Returns the name of a process's pods, such as svc-user for svc_user."""
    return process.replace("_", "-")


def generated(descriptor_set: bytes) -> str:
    """Returns the content of callers.yaml."""
    return _HEAD + yaml.safe_dump_all(policies(descriptor_set), sort_keys=False, width=120)


def _service(service: str, callers: frozenset[str]) -> dict[str, Any]:
    ingress = [_from([_EDGE, name_of(BRIDGE_NAME)], PUBLIC_PORT)]
    if callers:
        ingress.append(_from(sorted(callers), INTERNAL_PORT))
    if service == "svc-generation":
        # KEDA asks it how many workers are needed.
        keda = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
        ingress.append({"from": [keda], "ports": _ports((SCALER_PORT,))})
    return _policy(service, ingress=ingress)


def _calls(pod: str, callers: Mapping[str, frozenset[str]]) -> list[dict[str, Any]]:
    return [_to([service], INTERNAL_PORT) for service in sorted(callers) if pod in callers[service]]


def _policy(
    name: str,
    *,
    pod: str | None = None,
    ingress: list[dict[str, Any]] | None = None,
    egress: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    rules = {"ingress": ingress} if ingress is not None else {"egress": egress}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "podSelector": _selector(pod or name),
            "policyTypes": ["Ingress" if ingress is not None else "Egress"],
            **rules,
        },
    }


def _from(pods: Iterable[str], port: int) -> dict[str, Any]:
    return {"from": [{"podSelector": _selector(pod)} for pod in pods], "ports": _ports((port,))}


def _to(pods: Iterable[str], port: int) -> dict[str, Any]:
    return {"to": [{"podSelector": _selector(pod)} for pod in pods], "ports": _ports((port,))}


def _outside(ports: Iterable[int], *, inside: bool = False) -> dict[str, Any]:
    """Returns a rule for servers of the private network, or for those of the internet but not of it."""
    block = {"cidr": _VPC} if inside else {"cidr": "0.0.0.0/0", "except": [_VPC, _LINK_LOCAL]}
    return {"to": [{"ipBlock": block}], "ports": _ports(ports)}


def _selector(pod: str) -> dict[str, Any]:
    return {"matchLabels": {"app.kubernetes.io/name": pod}}


def _ports(ports: Iterable[int]) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]
