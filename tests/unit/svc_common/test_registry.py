"""One entry makes a service known everywhere, and whoever reads a list of its own has all of them.

The invented seventh service is added in a process of its own, before anything else of the platform is imported.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from svc_common.contracts import DESCRIPTOR_SET, internal_callers, neighbours_of, public_methods
from svc_common.registry import AREAS, BRIDGE_NAME, CALLERS, SERVICES, STORE_NEEDS, WORKER_NAME, Need, service_of
from tests.factories.deployed import SETTINGS

ROOT: Final = Path(__file__).resolve().parents[3]
_INVENTED: Final = """
import json, sys
from pathlib import Path
from svc_common import registry
from svc_common.registry import Need, Service

sixth = Service(area="sixth", number=8, schema="sixth")
seventh = Service(area="seventh", number=9, schema="sevenths", needs=frozenset({Need.PICTURES, Need.MAIL}))
registry.SERVICES = (*registry.SERVICES, sixth, seventh)
registry.AREAS = tuple(service.area for service in registry.SERVICES)
registry.CALLERS = (*registry.CALLERS, sixth.name, seventh.name)

from edge_envoy.__main__ import EdgeEnvironment
from edge_http.main import EdgeHttpSettings
from studio.deployment.__main__ import make
from studio.manifests.network import policies
from studio.stack import graph
from studio.stack.connections import DatabaseConnection
from studio.stack.keys import ensure_secrets
from studio.stack.layout import Layout, Ports
from studio.stack.local import StackOptions, declare
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.roles import schema_of

folder = Path(sys.argv[1])
layout = Layout(folder / "stack", Ports(20_000))
layout.create()
nodes = graph.by_name(declare(layout, ensure_secrets(layout.keys), {}, StackOptions()))
servers = {"DATABASE_URL": "postgresql://a:b@c:5432/d", "REDIS_URL": "redis://c", "SMTP_URL": "smtp://c:25"}
make(folder / "secrets", {**servers, "S3_ACCESS_KEY": "access", "S3_SECRET_KEY": "secret"})
print(json.dumps({
    "schema": schema_of("seventh"),
    "roles": DatabaseConnection("postgresql://a:b@c:5432/d").roles,
    "ports": [listener.port for listener in nodes["svc_seventh"].listeners],
    "environment": dict(nodes["svc_seventh"].environment),
    "sixth": dict(nodes["svc_sixth"].environment),
    "edge waits for": list(nodes["envoy"].depends_on),
    "secrets": sorted(file.name for file in (folder / "secrets" / "svc_seventh").iterdir()),
    "callers": [key["kid"] for key in json.loads((layout.keys / "service-jwks.json").read_text())["keys"]],
    "policies": [policy["metadata"]["name"] for policy in policies(DESCRIPTOR_SET.read_bytes())],
    "edge": sorted({*EdgeEnvironment.model_fields} & {*EdgeHttpSettings.model_fields}),
}))
"""


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What everybody makes of a registry that has a sixth and a seventh service."""
    scratch = tmp_path_factory.mktemp("invented")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "gen")))}
    done = subprocess.run(
        [sys.executable, "-c", _INVENTED, str(scratch)],
        cwd=scratch,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_invented_service_has_its_part_of_the_database(invented: dict[str, Any]) -> None:
    assert invented["schema"] == "sevenths"
    assert invented["roles"][-2:] == ["d_seventh_requests", "d_seventh_tasks"]


def test_an_invented_service_runs_in_the_local_stack_on_ports_of_its_own(invented: dict[str, Any]) -> None:
    assert invented["ports"] == [20_009, 20_109, 20_019]
    assert invented["environment"]["DATABASE_URL"].startswith("postgresql+asyncpg://pingvas_seventh_requests:")
    assert invented["environment"]["SERVICE_KEY_FILE"].endswith("svc_seventh.pem")
    assert "svc_seventh" in invented["edge waits for"]
    assert "svc_seventh" in invented["callers"]


def test_an_invented_service_gets_what_it_needs_and_nothing_else(invented: dict[str, Any]) -> None:
    assert {"S3_SECRET_KEY", "S3_BUCKET", "SMTP_URL"} <= set(invented["environment"])
    assert {"s3_secret_key", "smtp_url", "service-key.pem"} <= set(invented["secrets"])
    for name in ("USER_SIGNING_KEY_FILE", "MODELS_BUCKET", "POLAR_KEY_FILE"):
        assert name not in invented["environment"]
    assert "user-signing.pem" not in invented["secrets"]
    assert not {name for name in invented["sixth"] if name.startswith(("S3_", "SMTP_"))}


def test_an_invented_service_is_known_to_the_edge_and_in_the_cluster(invented: dict[str, Any]) -> None:
    assert "seventh_public_address" in invented["edge"]
    assert {"svc-seventh", "svc-seventh-out"} <= set(invented["policies"])


def test_numbers_and_schemas_are_given_once() -> None:
    taken_locally = {6, 7}
    numbers = Counter(service.number for service in SERVICES)
    assert max(numbers.values()) == 1
    assert set(numbers) <= set(range(1, 10)) - taken_locally
    assert len({service.schema for service in SERVICES}) == len(SERVICES)


def test_every_area_of_the_contracts_is_served() -> None:
    descriptors = DESCRIPTOR_SET.read_bytes()
    areas = {method.area for method in public_methods(descriptors)} | set(internal_callers(descriptors))
    assert {service_of(area).area for area in areas} == set(AREAS)
    with pytest.raises(LookupError, match=r"registry\.py"):
        service_of("nowhere")


def test_every_caller_of_the_contracts_has_a_key() -> None:
    callers = internal_callers(DESCRIPTOR_SET.read_bytes()).values()
    assert {name for names in callers for name in names} <= set(CALLERS)


@pytest.mark.parametrize("name", [*(service.name for service in SERVICES), WORKER_NAME, BRIDGE_NAME])
def test_a_process_knows_the_addresses_of_those_only_whom_it_may_call(name: str) -> None:
    fields = SETTINGS[f"{name}.main"].model_fields
    known = {match[1] for field in fields if (match := re.fullmatch(r"(\w+)_internal_address", field))}
    assert known == set(neighbours_of(DESCRIPTOR_SET.read_bytes(), name))


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_reads_just_the_secrets_that_it_is_given(service: Any) -> None:
    fields = set(SETTINGS[f"{service.name}.main"].model_fields)
    assert ("s3_secret_key" in fields) == bool(service.needs & STORE_NEEDS)
    assert ("s3_bucket" in fields) == (Need.PICTURES in service.needs)
    assert ("models_bucket" in fields) == (Need.MODEL_FILES in service.needs)
    assert ("user_signing_key_file" in fields) == (Need.SIGNING_KEY in service.needs)
    assert ("smtp_url" in fields) == (Need.MAIL in service.needs)
    assert ("polar_key_file" in fields) == (Need.PAYMENT_PROVIDERS in service.needs)


def test_the_worker_and_the_bridge_know_no_secret_but_their_own_key() -> None:
    for name in (WORKER_NAME, BRIDGE_NAME):
        fields = SETTINGS[f"{name}.main"].model_fields
        assert not {field for field in fields if field.startswith(("s3_", "database_", "user_signing", "smtp_"))}


def test_import_rules_name_every_service() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    names = {service.name for service in SERVICES}
    assert names <= set(rules["root_packages"])
    for rule in rules["contracts"]:
        for modules in (
            rule.get("modules"),
            rule.get("source_modules"),
            rule.get("forbidden_modules"),
            rule.get("containers"),
        ):
            named = {module.split(".")[0] for module in modules or ()} & names
            assert len(named) < 2 or named == names, rule["name"]


def test_images_compose_and_manifests_have_every_service() -> None:
    image = (ROOT / "containers" / "services.Dockerfile").read_text(encoding="utf-8")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    cluster = yaml.safe_load((ROOT / "k8s" / "base" / "kustomization.yaml").read_text(encoding="utf-8"))
    settings = {literal.partition("=")[0] for literal in cluster["configMapGenerator"][0]["literals"]}
    for service in SERVICES:
        pod = service.name.replace("_", "-")
        assert f"COPY {service.name} {service.name}\n" in image
        assert compose[pod]["command"] == ["python", "-m", f"{service.name}.main"]
        assert pod in cluster["resources"]
        assert {f"{service.area.upper()}_{side}_ADDRESS" for side in ("PUBLIC", "INTERNAL")} <= settings
