"""Reads the settings of a process as it would in its container, from the environment that a deployment gives it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_settings import BaseSettings

from edge_envoy.__main__ import EdgeEnvironment
from edge_http.main import EdgeHttpSettings
from gpu_worker.main import WorkerSettings
from studio.deployment.__main__ import make
from svc_gallery.main import GallerySettings
from svc_generation.settings import GenerationSettings
from svc_models.main import ModelsSettings
from svc_payment.main import PaymentSettings
from svc_user.main import UserSettings

SETTINGS: Final[Mapping[str, type[BaseSettings]]] = {
    "svc_user.main": UserSettings,
    "svc_payment.main": PaymentSettings,
    "svc_generation.main": GenerationSettings,
    "svc_gallery.main": GallerySettings,
    "svc_models.main": ModelsSettings,
    "edge_http.main": EdgeHttpSettings,
    "gpu_worker.main": WorkerSettings,
    "edge_envoy": EdgeEnvironment,
}
SECRETS_DIR: Final = "/run/secrets/pingvas"
MUTUAL_TLS_DIR: Final = "/run/secrets/mutual-tls"
_ADDRESSES: Final = {
    "DATABASE_URL": "postgresql://admin:secret@postgres:5432/pingvas",
    "REDIS_URL": "redis://:secret@redis:6379/0",
    "S3_ACCESS_KEY": "access-key",
    "S3_SECRET_KEY": "secret-key",
    "SMTP_URL": "smtp://mailbox:1025",
}


def make_secrets(folder: Path) -> Path:
    """Makes the secrets of every process below a folder and returns it."""
    make(folder, _ADDRESSES)
    return folder


def settings_of(
    module: str, environment: Mapping[str, Any], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> BaseSettings:
    """Returns the settings; raises ValidationError when the process wouldn't start.

    Args:
        module: what the container runs.
        environment: as the deployment gives it.
        secrets: the folder that is mounted at /run/secrets/pingvas.
        monkeypatch: gives the environment back.

    """
    certificates = secrets.parent / "mutual-tls"
    if any(MUTUAL_TLS_DIR in str(value) for value in environment.values()):
        certificates.mkdir(exist_ok=True)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (certificates / name).touch(mode=0o600)
    with monkeypatch.context() as patched:
        for name, value in environment.items():
            placed = str(value).replace(MUTUAL_TLS_DIR, str(certificates)).replace(SECRETS_DIR, str(secrets))
            patched.setenv(name, placed)
        return SETTINGS[module](_secrets_dir=str(secrets))  # type: ignore[call-arg]
