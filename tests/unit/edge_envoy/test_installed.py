"""What an installation holds is enough to configure the edge: no file of a checkout is read."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[3]
_ENVIRONMENT: Final = {
    **{f"{area}_PUBLIC_ADDRESS": f"svc-{area}:8001" for area in ("USER", "PAYMENT", "GENERATION", "GALLERY", "MODELS")},
    "BRIDGE_ADDRESS": "edge-http:8006",
    "EDGE_SECRET": "0123456789abcdef",
}
# Prints where the modules come from, and what the bridge reads when no setting names it.
_LOOK: Final = """
import json, edge_envoy.configuration, svc_common.contracts, edge_http.main
bridge = edge_http.main.EdgeHttpSettings.model_fields
print(json.dumps([
    edge_envoy.configuration.__file__, svc_common.contracts.__file__, edge_http.main.__file__,
    str(bridge["descriptor_set_file"].default), str(bridge["openapi_file"].default),
]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the package installs, in a folder far from the checkout."""
    scratch = tmp_path_factory.mktemp("installed")
    commands = ("-q", "egg_info", "--egg-base", str(scratch), "build_py", "--build-lib", str(scratch / "site"))
    subprocess.run(
        [sys.executable, "-c", "import setuptools; setuptools.setup()", *commands],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return scratch / "site"


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Runs Python where only the installation has our packages before those of the checkout; returns what it prints."""
    keys = folder / "user-jwks.json"
    keys.write_text('{"keys": []}', encoding="utf-8")
    environment = {**os.environ, **_ENVIRONMENT, "USER_JWKS_FILE": str(keys), "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_modules_and_contracts_come_from_the_installation(installed: Path, tmp_path: Path) -> None:
    for file in json.loads(run(installed, tmp_path, "-c", _LOOK)):
        assert Path(file).is_relative_to(installed)
        assert Path(file).is_file()


def test_an_installation_renders_the_same_configuration_as_the_checkout(installed: Path, tmp_path: Path) -> None:
    rendered = Path(run(installed, tmp_path, "-m", "edge_envoy", str(tmp_path)).strip())
    configuration: dict[str, Any] = yaml.safe_load(rendered.read_text(encoding="utf-8"))
    assert [each["name"] for each in configuration["static_resources"]["listeners"]]
    by_installation = rendered.read_text(encoding="utf-8")
    run(ROOT, tmp_path, "-m", "edge_envoy", str(tmp_path))
    assert rendered.read_text(encoding="utf-8") == by_installation
