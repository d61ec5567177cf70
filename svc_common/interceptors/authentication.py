"""Fifth layer: finds out who calls. Whether they may is the next layer's question."""

from google.protobuf.message import Message

from svc_common.caller import Call, Caller
from svc_common.errors import Reason, ServiceError
from svc_common.interceptors.hooks import Hooks
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Audience, Method

_SCHEME = "bearer "


class Authentication:
    """Verifies the bearer token: a user's access token or a service's credential, depending on the method's audience.

    Nothing else in the request says who calls: headers with identities are never trusted.
    """

    def __init__(self, verifiers: Verifiers) -> None:
        """Takes the verifiers of both kinds of tokens."""
        self._verifiers = verifiers

    def bind(self, method: Method) -> Hooks:
        """Returns the hook that authenticates; for methods that anybody may call there is none."""
        hooks = {
            Audience.ANONYMOUS: Hooks(),
            Audience.USER: Hooks(before=self._authenticate_user),
            Audience.SERVICE: Hooks(before=self._authenticate_service),
        }
        return hooks[method.audience]

    def _authenticate_user(self, call: Call, _: Message) -> None:
        claims = self._verifiers.access_tokens.verify(_bearer_token(call))
        if (revocations := self._verifiers.revocations) is not None:
            revocations.check(claims)
        call.caller = Caller(
            claims.user_id,
            claims.account_id,
            claims.session_id,
            scopes=claims.scopes,
            role=claims.role,
            withheld_role=claims.withheld_role,
            key=claims.key,
        )

    def _authenticate_service(self, call: Call, _: Message) -> None:
        call.caller = Caller(service=self._verifiers.service_tokens.verify(_bearer_token(call)))


def _bearer_token(call: Call) -> str:
    header = call.headers.get("authorization", "")
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise ServiceError(
            Reason.CREDENTIALS_MISSING, "The call carries no credential. Send `authorization: Bearer <access token>`."
        )
    return header[len(_SCHEME) :].strip()
