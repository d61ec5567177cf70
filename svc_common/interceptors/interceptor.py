"""The form of an interceptor, and what those of one server share."""

from dataclasses import dataclass
from typing import Protocol

from svc_common.interceptors.hooks import Hooks
from svc_common.interceptors.method import Method
from svc_common.limits.accounts import AccountLimits
from svc_common.revocations import Revocations
from svc_common.tokens import AccessTokens, ServiceTokens


@dataclass(frozen=True, slots=True)
class Verifiers:
    """What the interceptors of a server need from outside."""

    access_tokens: AccessTokens
    service_tokens: ServiceTokens
    limits: AccountLimits | None = None
    revocations: Revocations | None = None


class Interceptor(Protocol):
    """One layer between the wire and every handler."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Takes what interceptors share."""

    def bind(self, method: Method) -> Hooks:
        """Returns what the interceptor does around a method. Called once, when the server starts."""
