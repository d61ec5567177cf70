"""The first administrator of a local stack: made when svc_user is up, with a password that lies among the stack's keys."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pingvas.user.v1.user_directory_service_pb2 import EnsureAdministratorRequest
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub

from studio.stack.certificates import tls_of
from studio.stack.failures import StackError
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.process import Step
from studio.stack.user_keys import write_private
from svc_common.clients import channel
from svc_common.errors import ServiceError
from svc_common.registry import OPERATOR_NAME
from svc_common.tokens import ServiceCredential

ADMINISTRATOR: Final = "administrator"
_EMAIL: Final = "admin@example.com"
_CALL_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who administers the stack; the password is the one that was drawn for them, which they may have changed."""

    email: str
    password: str


def password_file(keys: Path) -> Path:
    """Returns the file with the address and the first password."""
    return keys / "administrator.json"


def ensure_administrator(keys: Path) -> Administrator:
    """Returns the stack's administrator, whose password is drawn when there is none yet."""
    file = password_file(keys)
    if not file.exists():
        write_private(file, json.dumps({"email": _EMAIL, "password": secrets.token_urlsafe(16)}).encode())
    return Administrator(**json.loads(file.read_text(encoding="utf-8")))


def step(layout: Layout, made: Secrets, depends_on: tuple[str, ...]) -> Step:
    """Returns the step that makes the first administrator, which does nothing when there is one."""

    async def make() -> None:
        administrator = ensure_administrator(layout.keys)
        credential = ServiceCredential.from_file(OPERATOR_NAME, made.service_key(OPERATOR_NAME))
        request = EnsureAdministratorRequest(email=administrator.email, password=administrator.password)
        tls = tls_of(layout, OPERATOR_NAME)
        async with channel(f"{HOST}:{layout.ports.internal('user')}", credential, tls=tls) as internal:
            try:
                await UserDirectoryServiceStub(internal).EnsureAdministrator(request, timeout=_CALL_SECONDS)
            except ServiceError as error:
                raise StackError(
                    f"the first administrator can't be made: {error.message}", advice="See `pingvas logs svc_user`."
                ) from error

    return Step(ADMINISTRATOR, make, depends_on)
