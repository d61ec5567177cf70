"""The secrets of a stack, made once and kept in files that only their owner may read.

Each service has an EC P-256 key that signs the short-lived tokens with which it calls others; the public halves are in
one JWKS whose key ids are the services' names. The keys of users' tokens have a
module of their own.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from studio.stack.user_keys import UserKeys, new_private_key, write_private
from svc_common.registry import CALLERS
from svc_common.tokens import public_jwk


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
    def user_keys(self) -> UserKeys:
        """All keys of users' access tokens."""
        return UserKeys(self.user_signing_key, self.folder / "user-signing-next.pem", self.user_jwks)

    @property
    def service_jwks(self) -> Path:
        """The public keys of every caller of an internal listener; the key id is the caller's name."""
        return self.folder / "service-jwks.json"

    @property
    def edge_secret(self) -> Path:
        """What the edge shows to the services, so that they believe it which client's address it names."""
        return self.folder / "edge-secret"

    @property
    def provider_key(self) -> Path:
        """The API key of the payment provider's stand-in."""
        return self.folder / "provider-key"

    @property
    def provider_secret(self) -> Path:
        """The secret with which the payment provider's stand-in signs its reports."""
        return self.folder / "provider-secret"

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
    _ensure_jwks(made.service_jwks, {name: made.service_key(name) for name in CALLERS})
    made.user_keys.ensure()
    for file in (made.edge_secret, made.provider_key, made.provider_secret):
        if not file.exists():
            # At most 40 characters, as payment providers have it.
            write_private(file, secrets.token_hex(20).encode())
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
        write_private(file, json.dumps(values, indent=2).encode())
    return values


def _ensure_jwks(file: Path, keys: Mapping[str, Path]) -> None:
    """Makes the missing keys and the file of their public halves, by key id."""
    missing = [path for path in keys.values() if not path.exists()]
    if file.exists() and not missing:
        return
    for path in missing:
        write_private(path, new_private_key())
    document = {"keys": [public_jwk(path.read_bytes(), key_id) for key_id, path in keys.items()]}
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")
