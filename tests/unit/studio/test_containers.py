"""The images and the deployment by Compose: linted, valid, hardened, and with settings that the processes take."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from compose_spec.models import ComposeSpecification

from edge_envoy.__main__ import EdgeEnvironment, write
from tests.factories.compose import ROOT, MissingVariableError, example_variables, filled_in, load
from tests.factories.deployed import SECRETS_DIR, SETTINGS, make_secrets, settings_of

DEVELOPMENT: Final = ("compose.yaml",)
PRODUCTION: Final = ("compose.yaml", "compose.prod.yaml")
DOCKERFILES: Final = sorted((ROOT / "containers").glob("*.Dockerfile"))
VARIABLES: Final = {
    "POSTGRES_PASSWORD": "a",
    "REDIS_PASSWORD": "b",
    "S3_ACCESS_KEY": "ccc",
    "S3_SECRET_KEY": "ddd",
    "STUDIO_URL": "https://studio.example",
    "TLS_DIR": "/etc/tls",
    "SMTP_URL": "smtp://mail.example:25",
    "MAIL_SENDER": "Studio <no-reply@studio.example>",
    "BACKUP_DIR": "/backups",
    "GRAFANA_PASSWORD": "e",
}
# Servers that start as root to take their volume over, and then change the user; their images are made so.
STARTS_AS_ROOT: Final = {"postgres", "redis", "minio-owner", "gpu-exporter"}
OWN_USER: Final = {"prometheus", "grafana"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("secrets"))


def files_of(kind: str) -> tuple[str, ...]:
    return DEVELOPMENT if kind == "development" else PRODUCTION


def services_of(kind: str) -> dict[str, Any]:
    services: dict[str, Any] = load(files_of(kind), VARIABLES)["services"]
    return services


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_container_files_have_no_findings(file: Path) -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([program, "--no-color", file], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_copy_only_what_exists_and_reaches_the_builder(file: Path) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        source
        for line in file.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(Path(part).match(pattern) for pattern in allowed for part in (source, source.split("/")[0])), source


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_run_as_a_user_without_privileges(file: Path) -> None:
    lines = file.read_text().splitlines()
    last_stage = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert [line for line in last_stage if line.startswith("USER ")] == ["USER 10001:10001"]


def test_images_hold_every_package_that_their_processes_import() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", (ROOT / "containers/services.Dockerfile").read_text(), re.MULTILINE))
    modules = {module.split(".")[0] for module in SETTINGS} - {"gpu_worker"}
    assert {*modules, "svc_common", "gen"} <= copied


@pytest.mark.parametrize("kind", ["development", "production"])
def test_compose_files_are_as_the_schema_wants_them(kind: str) -> None:
    for name in files_of(kind):
        given = yaml.safe_load(filled_in((ROOT / name).read_text(), VARIABLES).replace("!override ", ""))
        known = ComposeSpecification.model_validate(given).model_dump(by_alias=True, exclude_unset=True, mode="json")
        assert unknown_keys(given, known) == []


def unknown_keys(given: Any, known: Any, path: str = "") -> list[str]:
    """Returns the keys that the schema's classes didn't take."""
    if isinstance(given, dict) and isinstance(known, dict):
        return [
            found
            for key, value in given.items()
            if not str(key).startswith("x-")
            for found in (unknown_keys(value, known[key], f"{path}/{key}") if key in known else [f"{path}/{key}"])
        ]
    return []


def test_a_key_that_compose_does_not_know_is_found() -> None:
    given = {"services": {"one": {"image": "a:1", "read_onyl": True}}}
    try:
        known = ComposeSpecification.model_validate(given).model_dump(by_alias=True, exclude_unset=True, mode="json")
    except ValueError:
        return
    assert unknown_keys(given, known) == ["/services/one/read_onyl"]


@pytest.mark.parametrize("kind", ["development", "production"])
def test_containers_are_hardened(kind: str) -> None:
    for name, service in services_of(kind).items():
        assert service["cap_drop"] == ["ALL"], name
        if name != "gpu-exporter":
            assert service["security_opt"] == ["no-new-privileges:true"], name
        if name not in STARTS_AS_ROOT:
            assert service["read_only"], name
        if name not in STARTS_AS_ROOT | OWN_USER:
            assert service["user"] == "10001:10001", name
        tag = service["image"].rpartition(":")[2]
        assert tag not in {"", "latest", service["image"]}, name


@pytest.mark.parametrize("kind", ["development", "production"])
def test_processes_take_the_settings_that_compose_gives_them(
    kind: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = set()
    for service in services_of(kind).values():
        command = service.get("command", [])
        module = command[2] if command[:2] == ["python", "-m"] else None
        if module not in SETTINGS and "GRACE_SECONDS" not in service.get("environment", {}):
            continue
        module = module if module in SETTINGS else "gpu_worker.main"
        mount = next(one for one in service["volumes"] if isinstance(one, dict) and one["target"] == SECRETS_DIR)
        settings_of(module, service["environment"], secrets / mount["volume"]["subpath"], monkeypatch)
        started.add(module)
    assert started == set(SETTINGS)


@pytest.mark.parametrize("kind", ["development", "production"])
def test_processes_wait_for_what_exists(kind: str) -> None:
    services = services_of(kind)
    for name, service in services.items():
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in services, f"{name} waits for {needed}"
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], needed


def test_the_example_has_no_value_that_works() -> None:
    example = example_variables()
    assert {name for name, value in example.items() if value} == {"API_KEY_ENVIRONMENT"}
    for names in (DEVELOPMENT, PRODUCTION):
        with pytest.raises(MissingVariableError, match=r"copy \.env\.example"):
            load(names, example)


def test_the_example_names_each_variable_that_must_be_set() -> None:
    text = "".join((ROOT / name).read_text() for name in PRODUCTION)
    assert set(re.findall(r"\$\{(\w+):\?", text)) <= set(example_variables())


def test_each_process_knows_its_own_secrets_only(secrets: Path) -> None:
    held = {folder.name: {file.name for file in folder.iterdir()} for folder in secrets.iterdir() if folder.is_dir()}
    assert held["gpu_worker"] == {"redis_url", "service-key.pem"}
    assert held["edge_http"] == {"service-key.pem"}
    assert held["envoy"] == {"user-jwks.json", "edge_secret"}
    assert [name for name, files in held.items() if "user-signing.pem" in files and not name.startswith(".")] == [
        "svc_user"
    ]
    assert {name for name, files in held.items() if "s3_secret_key" in files} == {
        "svc_user",
        "svc_generation",
        "svc_gallery",
        "svc_models",
    }
    assert [name for name, files in held.items() if "smtp_url" in files] == ["svc_user"]
    keys = [
        (secrets / name / "service-key.pem").read_text() for name, files in held.items() if "service-key.pem" in files
    ]
    assert len(set(keys)) == len(keys)
    assert all(file.stat().st_mode & 0o077 == 0 for file in secrets.glob("[a-z]*/*"))


def test_secrets_stay_as_they_are_when_they_are_made_again(tmp_path: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in make_secrets(tmp_path).rglob("*") if file.is_file()}

    assert contents() == contents()


def test_the_edge_finds_everything_that_its_configuration_names(secrets: Path, tmp_path: Path) -> None:
    addresses = {
        f"{area}_public_address": f"svc-{area}:8001" for area in ("user", "payment", "generation", "gallery", "models")
    }
    environment = EdgeEnvironment(
        **addresses,  # type: ignore[arg-type]
        bridge_address="edge-http:8006",
        user_jwks_file=secrets / "envoy" / "user-jwks.json",
        edge_secret=(secrets / "envoy" / "edge_secret").read_text(),
    )
    configuration = write(environment, tmp_path)
    assert configuration.stat().st_mode & 0o077 == 0
    assert (tmp_path / "pingvas.binpb").exists()
    assert str(tmp_path / "pingvas.binpb") in configuration.read_text()


def test_the_release_script_is_a_script() -> None:
    subprocess.run(["/bin/bash", "-n", ROOT / "containers" / "release.sh"], check=True)
