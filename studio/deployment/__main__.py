"""Makes the secrets of a deployment: `python -m studio.deployment FOLDER`.

Each process gets a folder with just what it may know, one file for each setting or key, and the same as one JSON object
for a secrets manager. Run it again after a new service was added: what is there stays as it is, but for the addresses of
the servers, which follow the environment. `--rotate-keys` lets the next key sign users' tokens, `--compromised-keys`
replaces all of them at once; processes that run take either up by themselves.
"""

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from studio.stack.connections import DatabaseConnection
from studio.stack.failures import StackError
from studio.stack.keys import Secrets, ensure_role_passwords, ensure_secrets
from studio.stack.user_keys import write_private
from svc_common.registry import (
    BRIDGE_NAME,
    OPERATOR_NAME,
    SERVICES,
    STORE_NEEDS,
    WORKER_NAME,
    Need,
    Service,
)

EDGE_NAME: Final = "envoy"
MIGRATIONS_NAME: Final = "migrations"
_SIGNER: Final = "svc_user"
_NEEDED: Final = ("DATABASE_URL", "REDIS_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "SMTP_URL")


class KeyChange(StrEnum):
    """What is to happen to the keys of users' tokens, by its option."""

    NONE = ""
    ROTATE = "--rotate-keys"
    REPLACE = "--compromised-keys"


def make(folder: Path, environment: Mapping[str, str], change: KeyChange = KeyChange.NONE) -> tuple[str, ...]:
    """Makes whatever is missing and returns the names of the processes; raises StackError for what isn't set."""
    if missing := [name for name in _NEEDED if not environment.get(name)]:
        raise StackError(
            f"{', '.join(missing)} not set",
            advice="DATABASE_URL is the administrator's; the others are the services' own.",
        )
    database = DatabaseConnection.parse(environment["DATABASE_URL"])
    originals = folder / ".originals"
    originals.mkdir(parents=True, exist_ok=True)
    originals.chmod(0o700)
    secrets = ensure_secrets(originals)
    ensure_role_passwords(secrets, database.roles)

    def distribute() -> None:
        # svc_user comes last: every verifier has a key before it signs.
        files = _files(secrets, database, environment)
        for process, content in sorted(files.items(), key=lambda item: item[0] == _SIGNER):
            _write(folder / process, content)
            _write_private(folder / f"{process}.json", json.dumps(content, indent=2) + "\n")

    now = datetime.now(UTC)
    if change is KeyChange.ROTATE:
        secrets.user_keys.rotate(now, distribute)
    elif change is KeyChange.REPLACE:
        secrets.user_keys.replace_compromised(now, distribute)
    distribute()
    return tuple(_files(secrets, database, environment))


def _files(secrets: Secrets, database: DatabaseConnection, environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Returns for each process what it may know, by the name of the file. Names of settings are read as settings."""
    jwks = {"user-jwks.json": _text(secrets.user_jwks), "service-jwks.json": _text(secrets.service_jwks)}
    edge_secret = _text(secrets.edge_secret)
    redis = {"redis_url": environment["REDIS_URL"]}
    mail = {"smtp_url": environment["SMTP_URL"]}
    store = {"s3_access_key": environment["S3_ACCESS_KEY"], "s3_secret_key": environment["S3_SECRET_KEY"]}

    def key_of(name: str) -> dict[str, str]:
        return {"service-key.pem": _text(secrets.service_key(name))}

    def service(of: Service) -> dict[str, str]:
        requests, tasks = database.requests_role(of.area), database.tasks_role(of.area)
        urls = {
            "database_url": database.url_for(requests, secrets.role_password(requests)),
            "tasks_database_url": database.url_for(tasks, secrets.role_password(tasks)),
        }
        own: dict[str, str] = {}
        if Need.SIGNING_KEY in of.needs:
            own["user-signing.pem"] = _text(secrets.user_signing_key)
        if Need.MAIL in of.needs:
            own |= mail
        if of.needs & STORE_NEEDS:
            own |= store
        return {**urls, **redis, **jwks, "edge-secret": edge_secret, **key_of(of.name), **own}

    return {
        **{each.name: service(each) for each in SERVICES},
        WORKER_NAME: {**redis, **key_of(WORKER_NAME)},
        BRIDGE_NAME: key_of(BRIDGE_NAME),
        EDGE_NAME: {"user-jwks.json": jwks["user-jwks.json"], "edge_secret": edge_secret},
        OPERATOR_NAME: key_of(OPERATOR_NAME),
        MIGRATIONS_NAME: {
            "admin_database_url": database.admin_url,
            "role-passwords.json": _text(secrets.role_passwords),
        },
    }


def _write(folder: Path, content: Mapping[str, str]) -> None:
    """Makes the folder hold these files and no others. It stays the same folder, which a running process may have mounted."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in content.items():
        _write_private(folder / name, text)
    for file in folder.iterdir():
        if file.name not in content:
            file.unlink()


def _write_private(path: Path, text: str) -> None:
    # A file that stays as it is isn't written: who watches it would take it for a change.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_private(path, text.encode())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def main() -> None:
    """Runs the command."""
    arguments = sys.argv[1:]
    options = [argument for argument in arguments if argument.startswith("--")]
    folders = [argument for argument in arguments if not argument.startswith("--")]
    if len(folders) != 1 or len(options) > 1 or not set(options) <= set(KeyChange):
        sys.stderr.write(f"usage: python -m studio.deployment FOLDER [{KeyChange.ROTATE} | {KeyChange.REPLACE}]\n")
        sys.exit(2)
    try:
        processes = make(Path(folders[0]), os.environ, KeyChange(options[0] if options else ""))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.stdout.write(f"secrets of {', '.join(processes)}\n")


if __name__ == "__main__":
    main()
