"""What Envoy says when it refuses by itself, in the words and the form of the services' own refusals.

One table: on which of Envoy's local replies, with which reason, and what the caller is told. Each entry becomes two
mappers, because the form depends on what the caller speaks: JSON gets a google.rpc.Status as the body, gRPC and
gRPC-web get the same Status in their headers.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.protobuf import json_format
from google.rpc import status_pb2

from svc_common.errors import Reason, ServiceError
from svc_common.status import to_status

# Set by the edge from `content-type` and `grpc-timeout` before any filter rewrites those; see envoy.yaml.j2.
SPOKEN_HEADER: Final = "x-edge-content-type"
DEADLINE_HEADER: Final = "x-edge-grpc-timeout"
# Set with them on every request; absent on those that Envoy refuses before.
SEEN_HEADER: Final = "x-edge-seen"

# Set by api_key.lua when there is no token for an API key; jwt_authn then misses a credential.
API_KEY_REFUSAL_HEADER: Final = "x-edge-api-key"

SEED_RULE: Final = (
    "must be 0 to 9007199254740991 (2^53 - 1); "
    "leave it out to have one drawn, and take a larger seed of another tool modulo 2^53"
)
"""What is said of a seed that doesn't even fit into 64 bits, which the transcoder refuses before the contract's rule can."""

_SPOKEN: Final = f"request.headers['{SPOKEN_HEADER}']"
_IS_GRPC: Final = "startsWith('application/grpc')"
# A request that was refused at once still has the caller's own content-type; later it may be the transcoder's.
SPEAKS_GRPC: Final = (
    f"('{SEEN_HEADER}' in request.headers"
    f" ? '{SPOKEN_HEADER}' in request.headers && {_SPOKEN}.{_IS_GRPC}"
    f" : 'content-type' in request.headers && request.headers['content-type'].{_IS_GRPC})"
)
BRIDGE_CLUSTER: Final = "edge_http"
SOCKETS_CLUSTER: Final = "edge_http_sockets"
_BODY_OF_ENVOY: Final = "%LOCAL_REPLY_BODY%"

# What Envoy says of a token that isn't valid, and the cause as svc_common.tokens names it. The last is in all of them.
_CAUSES: Final = (
    ("Audiences_in_Jwt_are_not_allowed", "audience"),
    ("Jwt_issuer_is_not_configured", "issuer"),
    ("Jwks_doesn", "key"),
    ("Jwt_verification_fails", "signature"),
    ("jwt_authn_access_denied", "malformed"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of refusal by the edge.

    `condition` is a CEL expression over Envoy's attributes; the first refusal whose condition holds is told.
    `http_status` None keeps Envoy's own. `cites_envoy` appends Envoy's words in JSON; in gRPC the Status is computed
    beforehand and can't.
    """

    name: str
    condition: str
    reason: Reason
    message: str
    http_status: int | None
    metadata: tuple[tuple[str, str], ...] = ()
    retry_after: timedelta | None = None
    cites_envoy: bool = False

    @property
    def status(self) -> status_pb2.Status:
        """The refusal as the services would send it."""
        return to_status(
            ServiceError(self.reason, self.message, metadata=dict(self.metadata), retry_after=self.retry_after)
        )


@dataclass(frozen=True, slots=True)
class Mapper:
    """One mapper of Envoy's local_reply_config, ready to be rendered; `json_body` is None for gRPC."""

    name: str
    condition: str
    http_status: int | None
    json_body: dict[str, Any] | None
    headers: tuple[tuple[str, str], ...]


def mappers(upstreams: Iterable[str], body_bytes: int) -> tuple[Mapper, ...]:
    """Returns the mappers for all refusals, the most telling first; upstreams are the areas whose services Envoy calls."""
    refusals = (
        *_api_key_refusals(),
        *_token_refusals(),
        *_unreadable_refusals(),
        *_network_refusals(),
        *_request_refusals(body_bytes),
        *(_unavailable(f"svc_{area}", area, f"{area}_streams") for area in upstreams),
        _unavailable(BRIDGE_CLUSTER, BRIDGE_CLUSTER, SOCKETS_CLUSTER),
        *_remaining_refusals(),
    )
    return tuple(mapper for refusal in refusals for mapper in (_grpc_mapper(refusal), _json_mapper(refusal)))


def _api_key_refusals() -> tuple[Refusal, ...]:
    return (
        _api_key_refused(
            "invalid",
            Reason.API_KEY_INVALID,
            "The API key is malformed, unknown, deleted or expired. Make another.",
            401,
        ),
        _api_key_refused(
            "limited",
            Reason.RATE_LIMITED,
            "Too many attempts were made. Wait for the delay in RetryInfo, then call again.",
            429,
            metadata=(("scope", "exchange"),),
            retry_after=timedelta(seconds=1),
        ),
        _api_key_refused(
            "away",
            Reason.DEPENDENCY_UNAVAILABLE,
            "svc_user, which knows the API key, doesn't answer. Repeat the call in a moment.",
            503,
            metadata=(("dependency", "svc_user"),),
        ),
    )


def _api_key_refused(
    why: str,
    reason: Reason,
    message: str,
    http_status: int,
    *,
    metadata: tuple[tuple[str, str], ...] = (),
    retry_after: timedelta | None = None,
) -> Refusal:
    # Only where the missing token was the matter: other refusals of the same request have words of their own.
    header = f"request.headers['{API_KEY_REFUSAL_HEADER}']"
    condition = (
        f"{_details_contain('Jwt_is_missing')} && '{API_KEY_REFUSAL_HEADER}' in request.headers && {header} == '{why}'"
    )
    return Refusal(f"API key: {why}", condition, reason, message, http_status, metadata, retry_after)


def _token_refusals() -> tuple[Refusal, ...]:
    return (
        _unauthenticated(
            "Jwt_is_missing",
            Reason.CREDENTIALS_MISSING,
            "The call carries no access token. Send the header `authorization: Bearer <access token>`.",
        ),
        _unauthenticated(
            "Jwt_is_expired",
            Reason.TOKEN_EXPIRED,
            "The token has expired. Get a new one with AuthService.Refresh and repeat the call.",
        ),
        *(
            _unauthenticated(words, Reason.TOKEN_INVALID, f"The token isn't valid ({cause}). Log in again.", cause)
            for words, cause in _CAUSES
        ),
    )


def _unauthenticated(words: str, reason: Reason, message: str, cause: str = "") -> Refusal:
    metadata = (("cause", cause),) if cause else ()
    return Refusal(f"token: {cause or reason.lower()}", _details_contain(words), reason, message, 401, metadata)


def _unreadable_refusals() -> tuple[Refusal, ...]:
    """Returns what callers are told whose requests break a policy of `edge_envoy.unreadable`, or Envoy's own rules."""
    return (
        _unreadable(
            "tunnel",
            405,
            "The API has no CONNECT and no TRACE. Compare the verb with the contract.",
            Reason.METHOD_NOT_FOUND,
        ),
        _unreadable(
            "rpc_verb",
            405,
            "gRPC calls are made with POST. Compare the verb with the contract.",
            Reason.METHOD_NOT_FOUND,
        ),
        _unreadable("deadline", 400, "grpc-timeout must be one to eight digits and a unit of H, M, S, m, u or n."),
        _unreadable("message_encoding", 400, "grpc-encoding must be identity, gzip or deflate."),
        _unreadable("content_encoding", 415, "The body is compressed. Send it without content-encoding."),
        Refusal(
            name="path that Envoy can't normalise",
            condition=_details_contain("path_normalization_failed"),
            reason=Reason.REQUEST_MALFORMED,
            message="The path has an escaped slash, a backslash, a fragment or a control character. Send it without.",
            http_status=400,
        ),
        Refusal(
            name="request without a host",
            condition=_details_contain("missing_host_header"),
            reason=Reason.REQUEST_MALFORMED,
            message="The request names no host. Send the header `host`.",
            http_status=400,
        ),
        Refusal(
            name="transfer-encoding other than chunked",
            condition="response.code == 501",
            reason=Reason.REQUEST_MALFORMED,
            message="transfer-encoding must be chunked.",
            http_status=400,
        ),
        Refusal(
            # The request check refuses JSON in its own words, and gRPC only for this.
            name="request that isn't one message",
            condition=f"response.code_details == 'lua_response' && {SPEAKS_GRPC}",
            reason=Reason.REQUEST_MALFORMED,
            message="The request must be exactly one message, in one whole frame.",
            http_status=400,
        ),
    )


def _unreadable(policy: str, status: int, message: str, reason: Reason = Reason.REQUEST_MALFORMED) -> Refusal:
    return Refusal(f"policy {policy}", _details_contain(f"matched_policy[{policy}]"), reason, message, status)


def _network_refusals() -> tuple[Refusal, ...]:
    return (
        Refusal(
            name="too many calls of one network",
            condition="response.code_details == 'request_rate_limited'",
            reason=Reason.RATE_LIMITED,
            message="Too many calls without a token come from your network. Wait for the delay in RetryInfo, then call again.",
            http_status=429,
            metadata=(("scope", "network"),),
            retry_after=timedelta(seconds=1),
        ),
        Refusal(
            name="calls of a network can't be counted",
            condition=_details_contain("rate_limiter_error"),
            reason=Reason.DEPENDENCY_UNAVAILABLE,
            message="Attempts can't be counted at the moment, and so aren't allowed. Repeat the call in a moment.",
            http_status=503,
            metadata=(("dependency", "svc_user"),),
        ),
    )


def _request_refusals(body_bytes: int) -> tuple[Refusal, ...]:
    return (
        Refusal(
            name="too many requests",
            condition=" || ".join(_details_contain(words) for words in ("local_rate_limited", "overflow", "overload")),
            reason=Reason.OVERLOADED,
            message="The platform has more to do than it can. Wait a second and repeat the call.",
            http_status=429,
            retry_after=timedelta(seconds=1),
        ),
        Refusal(
            name="no such method",
            condition=f"{_details_contain('json_transcode_failure{NOT_FOUND}')} || {_details_contain('cluster_not_found')}"
            # Envoy's own, such as for `OPTIONS *`.
            " || response.code == 404",
            reason=Reason.METHOD_NOT_FOUND,
            message="No method has this path and HTTP verb. Compare them with the contract.",
            http_status=404,
        ),
        Refusal(
            name="body too large",
            condition="response.code == 413",
            reason=Reason.REQUEST_TOO_LARGE,
            message=f"The request is larger than {body_bytes:,} bytes. Send less.",
            http_status=413,
            metadata=(("limit_bytes", str(body_bytes)),),
        ),
        Refusal(
            name="JSON or query parameters that don't fit the contract",
            condition=_details_contain("json_transcode_failure{INVALID_ARGUMENT}"),
            reason=Reason.REQUEST_MALFORMED,
            message="The request can't be read",
            http_status=400,
            cites_envoy=True,
        ),
        Refusal(
            name="deadline of the caller",
            # Without one, the edge's own limit has passed: the service hangs.
            condition=f"{_details_contain('max_duration_timeout')} && '{DEADLINE_HEADER}' in request.headers",
            reason=Reason.DEADLINE_TOO_SHORT,
            message="The call's deadline passed before it was done. Repeat it with a longer one.",
            http_status=504,
        ),
    )


def _unavailable(service: str, *clusters: str) -> Refusal:
    return Refusal(
        name=f"{service} doesn't answer",
        condition=f"response.code >= 500 && xds.cluster_name in {list(clusters)}",
        reason=Reason.DEPENDENCY_UNAVAILABLE,
        message=f"{service} doesn't answer. Repeat the call in a moment, a creating one with the same request id.",
        http_status=503,
        metadata=(("dependency", service),),
    )


def _remaining_refusals() -> tuple[Refusal, ...]:
    return (
        Refusal(
            name="fault of the edge",
            condition="response.code >= 500",
            reason=Reason.INTERNAL,
            message="The edge failed. Repeat the call; if it fails again, report the header x-request-id.",
            http_status=None,
        ),
        Refusal(
            name="no valid HTTP",
            condition="response.code >= 400",
            reason=Reason.REQUEST_MALFORMED,
            message="The request isn't valid HTTP for this API",
            http_status=None,
            cites_envoy=True,
        ),
    )


def _details_contain(words: str) -> str:
    return f"response.code_details.contains('{words}')"


def _json_mapper(refusal: Refusal) -> Mapper:
    body = json_format.MessageToDict(refusal.status, preserving_proto_field_name=True)
    # The transcoder prints an empty map as well; clients needn't ask which of the two refused.
    body["details"][0].setdefault("metadata", {})
    body["message"] = _literal(refusal.message) + (f": {_BODY_OF_ENVOY}" if refusal.cites_envoy else "")
    headers = () if refusal.retry_after is None else (("retry-after", str(int(refusal.retry_after.total_seconds()))),)
    return Mapper(refusal.name, refusal.condition, refusal.http_status, body, headers)


def _grpc_mapper(refusal: Refusal) -> Mapper:
    """Returns the form for gRPC and gRPC-web: headers only, with HTTP status 200 as both specifications want."""
    status = refusal.status
    headers = (
        ("grpc-status", str(status.code)),
        ("grpc-message", _literal(status.message)),
        ("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).rstrip(b"=").decode("ascii")),
    )
    return Mapper(f"{refusal.name} (gRPC)", f"({refusal.condition}) && {SPEAKS_GRPC}", 200, None, headers)


def _literal(text: str) -> str:
    """Returns text as a format string of Envoy that yields it."""
    return text.replace("%", "%%")
