"""Which requests Envoy refuses by their headers alone, because no service could read them.

Each policy is a list of rules of Envoy's RBAC filter that must all hold; what the caller is told stands in
`edge_envoy.replies`, by the policy's name.
"""

from typing import Any, Final

from edge_envoy.replies import DEADLINE_HEADER

_Rule = dict[str, Any]


def _is(header: str, pattern: str) -> _Rule:
    """Returns the rule that a header is there and that the whole of its value matches an RE2 expression."""
    return {"header": {"name": header, "string_match": {"safe_regex": {"regex": pattern}}}}


def _is_other_than(header: str, pattern: str) -> list[_Rule]:
    return [{"header": {"name": header, "present_match": True}}, {"not_rule": _is(header, pattern)}]


def _bad_deadline(header: str) -> _Rule:
    return {"and_rules": {"rules": _is_other_than(header, "[0-9]{1,8}[HMSmun]")}}


UNREADABLE: Final[dict[str, list[_Rule]]] = {
    "tunnel": [_is(":method", "CONNECT|TRACE")],
    # As gRPC over HTTP/2 defines it: at most eight digits and a unit.
    # Envoy takes a deadline that it can't read off some requests, so the caller's own is looked at as well.
    "deadline": [{"or_rules": {"rules": [_bad_deadline("grpc-timeout"), _bad_deadline(DEADLINE_HEADER)]}}],
    "message_encoding": _is_other_than("grpc-encoding", "identity|gzip|deflate"),
    "content_encoding": _is_other_than("content-encoding", "(?i)identity"),
    "rpc_verb": [_is("content-type", "application/grpc.*"), {"not_rule": _is(":method", "POST")}],
}
