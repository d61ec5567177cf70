"""Sixth layer: lets in only whom the contract of the method names: services, scopes of API keys, roles of people.

That a method for users sees the rows of the caller's own account only is enforced by row-level security.
"""

from google.protobuf.message import Message

from svc_common.account_roles import AccountRole
from svc_common.caller import Call
from svc_common.errors import Reason, ServiceError
from svc_common.interceptors.hooks import Hooks
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Audience, Method
from svc_common.scopes import RECOVER


class Authorization:
    """Compares the caller's service, scopes and role with the method's rule."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:
        """Returns the hook that compares; for methods that anybody may call there is none."""

        def admit_service(call: Call, _: Message) -> None:
            if call.caller.service not in method.callers:
                raise _not_allowed(call.caller.service or "", method.path)

        def admit_user(call: Call, _: Message) -> None:
            scopes = call.caller.scopes
            if scopes is not None and method.scope not in scopes:
                raise _account_closed() if RECOVER in scopes else _scope_missing(method)
            if not call.caller.role.includes(method.role):
                raise _role_missing(method, call.caller.withheld_role)

        hooks = {
            Audience.ANONYMOUS: Hooks(),
            Audience.USER: Hooks(before=admit_user),
            Audience.SERVICE: Hooks(before=admit_service),
        }
        return hooks[method.audience]


def _not_allowed(caller: str, path: str) -> ServiceError:
    return ServiceError(
        Reason.CALLER_NOT_ALLOWED,
        f"{caller} may not call {path}. The contract of the method lists its callers.",
        metadata={"caller": caller, "method": path},
    )


def _role_missing(method: Method, withheld_role: AccountRole | None) -> ServiceError:
    if withheld_role is not None and withheld_role.includes(method.role):
        return ServiceError(
            Reason.SECOND_FACTOR_REQUIRED,
            f"Your role {withheld_role} counts only with a second factor. Set one up, then call again.",
            metadata={"role": withheld_role.value},
        )
    return ServiceError(
        Reason.ROLE_MISSING,
        f"{method.path} needs the role {method.role}, which you don't have. Ask an administrator for it.",
        metadata={"role": method.role.value, "method": method.path},
    )


def _account_closed() -> ServiceError:
    return ServiceError(
        Reason.ACCOUNT_CLOSED, "The account is closed, to be erased. Open it again with CancelDeletion to go on."
    )


def _scope_missing(method: Method) -> ServiceError:
    message = (
        f"The API key has no scope {method.scope!r}, which {method.path} needs."
        if method.scope
        else f"No API key may call {method.path}. Log in instead."
    )
    metadata = {"scope": method.scope, "method": method.path} if method.scope else {"method": method.path}
    return ServiceError(Reason.SCOPE_MISSING, message, metadata=metadata)
