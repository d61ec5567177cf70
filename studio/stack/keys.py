"""The secrets of a local stack, made once and kept in files that only their owner may read.

Each service has an EC P-256 key that signs the short-lived tokens with which it calls others; the public halves are in
one JWKS whose key ids are the services' names. The user service has a second key for access tokens. Nothing here is
used in a cluster.
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from studio.stack.layout import AREAS
from svc_common.tokens import public_jwk

SERVICE_NAMES = tuple(f"svc_{area}" for area in AREAS)
WORKER_NAME = "gpu_worker"
OPERATOR_NAME = "operator"
_CALLERS = (*SERVICE_NAMES, WORKER_NAME, OPERATOR_NAME)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where the secrets are, and those that go into environments as they are."""

    folder: Path
    postgres_password: str
    redis_password: str
    s3_access_key: str
    s3_secret_key: str

    @property
    def user_signing_key(self) -> Path:
        """The private key of users' access tokens, in PEM."""
        return self.folder / "user-signing.pem"

    @property
    def user_jwks(self) -> Path:
        """The public keys of users' access tokens."""
        return self.folder / "user-jwks.json"

    @property
    def service_jwks(self) -> Path:
        """The public keys of every caller of an internal listener; the key id is the caller's name."""
        return self.folder / "service-jwks.json"

    @property
    def edge_secret(self) -> Path:
        """What the edge shows to the services, so that they believe it which client's address it names."""
        return self.folder / "edge-secret"

    @property
    def role_passwords(self) -> Path:
        """The passwords of the services' login roles in PostgreSQL, as a JSON object by role name."""
        return self.folder / "role-passwords.json"

    def service_key(self, name: str) -> Path:
        """Returns the private key of a caller, in PEM."""
        return self.folder / f"{name}.pem"

    def role_password(self, role: str) -> str:
        """Returns the password of a login role that `ensure_role_passwords` made."""
        return str(json.loads(self.role_passwords.read_text(encoding="utf-8"))[role])


def ensure_secrets(folder: Path) -> Secrets:
    """Makes whatever secret is missing in the folder and returns them all; existing ones never change."""
    values = _ensure_values(
        folder / "servers.json", ("postgres_password", "redis_password", "s3_access_key", "s3_secret_key")
    )
    made = Secrets(folder=folder, **values)
    _ensure_jwks(made.service_jwks, {name: made.service_key(name) for name in _CALLERS})
    _ensure_jwks(made.user_jwks, {None: made.user_signing_key})
    if not made.edge_secret.exists():
        _write_private(made.edge_secret, secrets.token_hex(20).encode())
    return made


def ensure_role_passwords(made: Secrets, roles: Iterable[str]) -> None:
    """Makes the password of every role that has none yet."""
    _ensure_values(made.role_passwords, roles)


def _ensure_values(file: Path, names: Iterable[str]) -> dict[str, str]:
    values: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    missing = [name for name in names if name not in values]
    if missing:
        # Hexadecimal: these travel in URLs, in an RESP command and in a comma-separated list without quoting.
        values |= {name: secrets.token_hex(20) for name in missing}
        _write_private(file, json.dumps(values, indent=2).encode())
    return values


def _ensure_jwks(file: Path, keys: Mapping[str | None, Path]) -> None:
    """Makes the missing keys and the file of their public halves, by key id; None stands for the thumbprint."""
    missing = [path for path in keys.values() if not path.exists()]
    if file.exists() and not missing:
        return
    for path in missing:
        _write_private(path, _new_private_key())
    document = {"keys": [public_jwk(path.read_bytes(), key_id) for key_id, path in keys.items()]}
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _new_private_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may read from its first byte on, and that appears whole or not at all."""
    draft = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    draft.replace(path)
