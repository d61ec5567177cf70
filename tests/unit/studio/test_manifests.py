"""The Kubernetes manifests: valid, safe, as the contracts want them, and with settings that the processes take."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.manifests import policy, schemas
from studio.manifests.network import CALLERS_FILE, INTERNAL_PORT, PUBLIC_PORT, callers_of_services, generated
from studio.manifests.policy import containers_of, pod_of
from studio.manifests.rendering import ENVIRONMENTS, FOLDER, ROOTS, Manifest, ManifestError, render
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.registry import AREAS
from tests.factories.deployed import SETTINGS, make_secrets, settings_of

PODS = (*(f"svc-{area}" for area in AREAS), "edge-http", "envoy", "gpu-worker", "migrations")


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Manifest]]:
    return {root: render(root) for root in ROOTS}


@pytest.fixture(scope="module")
def production(rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    return rendered["overlays/prod"]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("secrets"))


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


@pytest.mark.parametrize("root", ROOTS)
def test_manifests_are_as_their_schemas_want_them(root: str, rendered: dict[str, list[Manifest]]) -> None:
    assert [fault for manifest in rendered[root] for fault in schemas.faults(manifest)] == []


@pytest.mark.parametrize("root", ENVIRONMENTS)
def test_no_manifest_breaks_a_rule(root: str, rendered: dict[str, list[Manifest]]) -> None:
    assert list(policy.faults(rendered[root])) == []


def test_every_folder_belongs_to_something_that_is_applied() -> None:
    folders = {file.parent.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("kustomization.yaml")}
    assert {folder for folder in folders if not folder.startswith(("base", "overlays/replacements"))} == set(ROOTS)


def test_a_folder_that_cannot_be_rendered_is_named() -> None:
    with pytest.raises(ManifestError, match="k8s/nowhere"):
        render("nowhere")


def security_of(deployment: Manifest) -> Any:
    return pod_of(deployment)["containers"][0]["securityContext"]


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("may run as root", lambda one: pod_of(one)["securityContext"].pop("runAsNonRoot")),
        ("has no seccomp profile", lambda one: pod_of(one)["securityContext"].pop("seccompProfile")),
        ("gets a token for the API server", lambda one: pod_of(one).pop("automountServiceAccountToken")),
        ("has no priority", lambda one: pod_of(one).pop("priorityClassName")),
        ("reaches into its node", lambda one: pod_of(one).update(hostNetwork=True)),
        ("isn't spread", lambda one: pod_of(one).pop("topologySpreadConstraints")),
        ("main may write to its root", lambda one: security_of(one).pop("readOnlyRootFilesystem")),
        ("main keeps privileges", lambda one: security_of(one).pop("capabilities")),
        ("main has no limits of memory", lambda one: pod_of(one)["containers"][0]["resources"]["limits"].pop("memory")),
        ("without a fixed version", lambda one: pod_of(one)["containers"][0].update(image="host:5000/a")),
        ("without a fixed version", lambda one: pod_of(one)["containers"][0].update(image="a:latest")),
        ("main has no livenessProbe", lambda one: pod_of(one)["containers"][0].pop("livenessProbe")),
        ("has no certificate for the other", lambda one: pod_of(one)["containers"][0]["volumeMounts"].pop(1)),
        ("selects no pod", lambda one: one["spec"]["template"]["metadata"]["labels"].pop("app.kubernetes.io/name")),
        ("has no PodDisruptionBudget", lambda one: one["metadata"].update(name="another")),
    ],
)
def test_each_breach_of_a_rule_is_found(
    fault: str, change: Callable[[Manifest], Any], production: list[Manifest]
) -> None:
    changed = copy.deepcopy(production)
    change(of_kind(changed, "Deployment")["pingvas-svc-user"])
    assert any(fault in found for found in policy.faults(changed))


def test_a_field_that_a_kind_does_not_have_is_found(production: list[Manifest]) -> None:
    deployment = copy.deepcopy(of_kind(production, "Deployment")["pingvas-svc-user"])
    deployment["spec"]["replicsa"] = 2
    assert any("replicsa" in fault for fault in schemas.faults(deployment))
    scaled = copy.deepcopy(of_kind(production, "ScaledObject")["pingvas-gpu-worker"])
    scaled["spec"]["minReplicaCuont"] = 0
    assert any("minReplicaCuont" in fault for fault in schemas.faults(scaled))


@pytest.mark.parametrize("root", ENVIRONMENTS)
def test_processes_take_the_settings_that_the_manifests_give_them(
    root: str, rendered: dict[str, list[Manifest]], secrets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifests = rendered[root]
    maps = of_kind(manifests, "ConfigMap")
    keys = {
        name: secret["spec"]["dataFrom"][0]["extract"]["key"]
        for name, secret in of_kind(manifests, "ExternalSecret").items()
    }
    started = set()
    for deployment in of_kind(manifests, "Deployment").values():
        mounted = next(one["secret"]["secretName"] for one in pod_of(deployment)["volumes"] if one["name"] == "secrets")
        for container in containers_of(deployment):
            module = container["command"][-1] if container["command"][-1] in SETTINGS else container["command"][-2:][0]
            if module not in SETTINGS:
                continue
            environment = {
                key: value
                for source in container.get("envFrom", [])
                for key, value in maps[source["configMapRef"]["name"]]["data"].items()
            }
            environment |= {one["name"]: one.get("value", "pod-name") for one in container["env"]}
            # The image's folder of models isn't on this machine.
            environment |= {"CATALOGUE_DIRS": str(tmp_path)} if "CATALOGUE_DIRS" in environment else {}
            settings_of(module, environment, secrets / keys[mounted].rpartition("/")[2], monkeypatch)
            started.add(module)
    assert started == set(SETTINGS)


@pytest.mark.parametrize("root", ENVIRONMENTS)
def test_addresses_in_the_settings_are_those_of_services(root: str, rendered: dict[str, list[Manifest]]) -> None:
    manifests = rendered[root]
    ports = {
        name: {port["port"] for port in service["spec"]["ports"]}
        for name, service in of_kind(manifests, "Service").items()
    }
    settings = next(data for name, data in of_kind(manifests, "ConfigMap").items() if name.startswith("settings-"))[
        "data"
    ]
    addresses = {name: value for name, value in settings.items() if name.endswith("_ADDRESS")}
    assert len(addresses) == 2 * len(AREAS) + 1
    for name, address in addresses.items():
        host, _, port = address.partition(":")
        assert int(port) in ports[host], name
    scaler = of_kind(manifests, "ScaledObject")["pingvas-gpu-worker"]["spec"]["triggers"][0]["metadata"][
        "scalerAddress"
    ]
    host, namespace = scaler.partition(":")[0].split(".")
    assert namespace == manifests[0]["metadata"]["namespace"]
    assert int(scaler.partition(":")[2]) in ports[host]


def test_every_process_has_a_secret_of_its_own_and_an_identity_that_reads_it(
    production: list[Manifest], secrets: Path
) -> None:
    made = {file.stem for file in secrets.glob("*.json")} - {"operator"}
    keys = {one["spec"]["dataFrom"][0]["extract"]["key"] for one in of_kind(production, "ExternalSecret").values()}
    assert keys == {f"pingvas/prod/{process}" for process in made}
    for name, store in of_kind(production, "SecretStore").items():
        assert store["spec"]["provider"]["aws"]["auth"]["jwt"]["serviceAccountRef"]["name"] == name
        role = of_kind(production, "ServiceAccount")[name]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert role == f"arn:aws:iam::000000000000:role/prod/{name.removeprefix('pingvas-')}"


class Network:
    """What the policies of an environment let pass between its pods."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.policies = list(of_kind(manifests, "NetworkPolicy").values())

    def passes(self, source: str, target: str, port: int) -> bool:
        """A packet passes when one policy of its source lets it out and one of its target lets it in."""
        return self._is_in(source, "egress", "to", target, port) and self._is_in(
            target, "ingress", "from", source, port
        )

    def _is_in(self, pod: str, direction: str, peers: str, peer: str, port: int) -> bool:
        return any(
            {"matchLabels": {"app.kubernetes.io/name": peer}} == one.get("podSelector")
            and port in {item["port"] for item in rule["ports"]}
            for found in self.policies
            if found["spec"]["podSelector"].get("matchLabels") == {"app.kubernetes.io/name": pod}
            for rule in found["spec"].get(direction, [])
            for one in rule.get(peers, [])
        )


def test_pods_reach_each_other_just_as_the_contracts_allow(production: list[Manifest]) -> None:
    callers = callers_of_services(DESCRIPTOR_SET.read_bytes())
    assert callers["svc-payment"] >= {"svc-generation", "edge-http"}
    assert "gpu-worker" in callers["svc-generation"]
    network = Network(production)
    expected = {(source, target, INTERNAL_PORT) for target, sources in callers.items() for source in sources}
    expected |= {(source, f"svc-{area}", PUBLIC_PORT) for source in ("envoy", "edge-http") for area in AREAS}
    ports = (INTERNAL_PORT, PUBLIC_PORT)
    passing = {
        (source, target, port)
        for source in PODS
        for target in PODS
        for port in ports
        if source != target and network.passes(source, target, port)
    }
    assert passing == expected


@pytest.mark.parametrize("root", ENVIRONMENTS)
def test_certificates_have_the_names_by_which_processes_are_called(
    root: str, rendered: dict[str, list[Manifest]]
) -> None:
    certificates = of_kind(rendered[root], "Certificate")
    for name, deployment in of_kind(rendered[root], "Deployment").items():
        (secret,) = [one["secret"] for one in pod_of(deployment)["volumes"] if one["name"] == "mutual-tls"]
        certificate = certificates[f"mutual-tls{name.removeprefix('pingvas')}"]["spec"]
        assert (certificate["secretName"], certificate["dnsNames"]) == (secret["secretName"], [name])
        assert certificate["issuerRef"] == {"kind": "Issuer", "name": "authority"}
    assert certificates["authority"]["spec"]["isCA"]
    assert certificates["public-envoy"]["spec"]["issuerRef"]["kind"] == "ClusterIssuer"


def test_nothing_passes_that_no_policy_allows(production: list[Manifest]) -> None:
    deny = of_kind(production, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_network_policies_are_as_the_contracts_want_them() -> None:
    assert CALLERS_FILE.read_text() == generated(DESCRIPTOR_SET.read_bytes())


def test_migrations_run_before_the_services_and_these_before_the_edge(production: list[Manifest]) -> None:
    def wave(kind: str, name: str) -> int:
        annotations = of_kind(production, kind)[name]["metadata"].get("annotations", {})
        return int(annotations.get("argocd.argoproj.io/sync-wave", "0"))

    secret = wave("ExternalSecret", "pingvas-migrations")
    services = {wave("Deployment", f"pingvas-svc-{area}") for area in AREAS}
    assert secret < wave("Job", "pingvas-migrations") < min(services)
    assert max(services) < wave("Deployment", "pingvas-envoy")


def test_argo_cd_is_led_to_folders_that_exist(rendered: dict[str, list[Manifest]]) -> None:
    applications = [
        manifest
        for root in ("argocd", "argocd/apps")
        for manifest in rendered[root]
        if manifest["kind"] == "Application"
    ]
    paths = [application["spec"]["source"]["path"] for application in applications]
    assert sorted(paths) == ["k8s/argocd/apps", "k8s/cluster", "k8s/overlays/dev", "k8s/overlays/prod"]
    assert all((FOLDER.parent / path / "kustomization.yaml").exists() for path in paths)


def test_stopping_processes_have_more_time_than_they_give_themselves(production: list[Manifest]) -> None:
    settings = next(data for name, data in of_kind(production, "ConfigMap").items() if name.startswith("settings-"))[
        "data"
    ]
    for name, deployment in of_kind(production, "Deployment").items():
        environment = {one["name"]: one.get("value") for one in pod_of(deployment)["containers"][0].get("env", [])}
        grace = float(environment.get("GRACE_SECONDS") or settings["GRACE_SECONDS"]) + float(settings["DRAIN_SECONDS"])
        assert pod_of(deployment)["terminationGracePeriodSeconds"] > grace, name
