"""What must hold of every manifest, whatever its schema allows: no root, no writable root, limits, fixed versions, and more."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from studio.manifests.rendering import Manifest, name_of

_WORKLOADS: Final = ("Deployment", "Job")
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_BOTH_SIDES: Final = frozenset({"server auth", "client auth"})
_SELECTING: Final = ("Service", "PodDisruptionBudget")


def faults(manifests: Iterable[Manifest]) -> Iterator[str]:
    """Yields every breach among the resources of one environment."""
    manifests = list(manifests)
    for workload in (manifest for manifest in manifests if manifest["kind"] in _WORKLOADS):
        for fault in (*_pod_faults(workload), *_container_faults(workload)):
            yield f"{name_of(workload)}: {fault}"
    yield from _forgotten(manifests)
    yield from _unknown_to_others(manifests)
    yield from _dangling(manifests)


def pod_of(workload: Manifest) -> dict[str, Any]:
    """Returns the specification of a workload's pods."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def containers_of(workload: Manifest) -> list[dict[str, Any]]:
    """Returns all containers of a workload's pods, those of the start included."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


def _pod_faults(workload: Manifest) -> Iterator[str]:
    pod = pod_of(workload)
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "gets a token for the API server"
    if not pod.get("priorityClassName"):
        yield "has no priority"
    if pod.get("hostNetwork") or pod.get("hostPID") or any("hostPath" in volume for volume in pod.get("volumes", [])):
        yield "reaches into its node"
    if workload["kind"] == "Deployment" and not pod.get("topologySpreadConstraints"):
        yield "isn't spread over zones and nodes"


def _container_faults(workload: Manifest) -> Iterator[str]:
    for container in containers_of(workload):
        for fault in (*_privileges(container), *_resources(container)):
            yield f"{container['name']} {fault}"
        if workload["kind"] != "Job" and any("secretKeyRef" in str(one) for one in container.get("env", [])):
            yield f"{container['name']} has a secret in its environment"
    for container in pod_of(workload)["containers"] if workload["kind"] == "Deployment" else ():
        if missing := [probe for probe in _PROBES if probe not in container]:
            yield f"{container['name']} has no {', '.join(missing)}"


def _privileges(container: dict[str, Any]) -> Iterator[str]:
    security = container.get("securityContext", {})
    if not security.get("readOnlyRootFilesystem"):
        yield "may write to its root"
    if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps privileges"


def _resources(container: dict[str, Any]) -> Iterator[str]:
    for kind in ("requests", "limits"):
        if missing := sorted(_RESOURCES - set(container.get("resources", {}).get(kind, {}))):
            yield f"has no {kind} of {', '.join(missing)}"
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    if "@sha256:" not in container["image"] and tag in {"", "latest"}:
        yield "has an image without a fixed version"


def _forgotten(manifests: list[Manifest]) -> Iterator[str]:
    """Yields workloads for which something is missing that each of its kind has."""
    names: dict[str, set[str]] = {}
    for manifest in manifests:
        names.setdefault(manifest["kind"], set()).add(manifest["metadata"]["name"])
    for name in names.get("Deployment", set()):
        scaled = names.get("HorizontalPodAutoscaler", set()) | names.get("ScaledObject", set())
        for kind, present in (
            ("PodDisruptionBudget", names.get("PodDisruptionBudget", set())),
            ("HorizontalPodAutoscaler or ScaledObject", scaled),
        ):
            if name not in present:
                yield f"Deployment/{name}: has no {kind}"


def _unknown_to_others(manifests: list[Manifest]) -> Iterator[str]:
    """Yields deployments whose process doesn't see a certificate by which the others know it: all of them speak gRPC."""
    secrets = {
        manifest["spec"]["secretName"]
        for manifest in manifests
        if manifest["kind"] == "Certificate" and set(manifest["spec"].get("usages", [])) >= _BOTH_SIDES
    }
    for deployment in (manifest for manifest in manifests if manifest["kind"] == "Deployment"):
        pod = pod_of(deployment)
        volumes = {one["name"] for one in pod["volumes"] if one.get("secret", {}).get("secretName") in secrets}
        mounted = {one["name"] for one in pod["containers"][0].get("volumeMounts", []) if one.get("readOnly")}
        if not volumes & mounted:
            yield f"{name_of(deployment)}: has no certificate for the other processes"


def _dangling(manifests: list[Manifest]) -> Iterator[str]:
    """Yields selectors that select nothing."""
    pods = [
        manifest["spec"]["template"]["metadata"]["labels"] for manifest in manifests if manifest["kind"] in _WORKLOADS
    ]
    for manifest in manifests:
        selectors = []
        if manifest["kind"] in _SELECTING:
            selector = manifest["spec"]["selector"]
            selectors = [selector.get("matchLabels", selector)]
        elif manifest["kind"] == "NetworkPolicy":
            selectors = list(_selectors(manifest["spec"]))
        for selector in selectors:
            if not any(selector.items() <= labels.items() for labels in pods):
                yield f"{name_of(manifest)}: selects no pod: {selector}"


def _selectors(node: Any) -> Iterator[dict[str, str]]:
    """Yields the labels of every selector of pods in a network policy."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "podSelector":
                yield value.get("matchLabels", {})
            elif key != "namespaceSelector":
                yield from _selectors(value)
    elif isinstance(node, list):
        for one in node:
            yield from _selectors(one)
