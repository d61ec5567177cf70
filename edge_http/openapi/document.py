"""Puts the document together: who may call, the headings, every path, and the components that they use."""

import json
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from edge_http.documents import descriptor_of
from edge_http.openapi.comments import MethodComment, comments_of, markdown, method_comment
from edge_http.openapi.operations import operation_of, tag_of
from edge_http.openapi.own import own_operations, own_tags
from edge_http.openapi.refusals import Refusals
from edge_http.openapi.schemas import Schemas
from edge_http.routing import Route, Router, router_of
from edge_http.streams import RESUME_HEADER
from svc_common.contracts import public_methods

_HTTP_BODY: Final = "google.api.HttpBody"
_ABOUT: Final = """\
Turns prompts into pictures. The same calls work as gRPC and gRPC-web; this document is computed from the same contracts.

- **Tokens.** `POST /api/v1/auth/login` gives an access token for ten minutes; send it as `authorization: Bearer ...`.
- **API keys** of `POST /api/v1/users/me/api-keys` stand in a token's place where an operation names a scope.
- **Names.** Fields have the contract's names. Unknown fields and parameters are refused, and a text may not hold U+0000.
- **Numbers of 64 bits** are strings, since JavaScript's numbers have 53. Numbers are taken as well.
- **Repeating.** A call that creates something is safe to repeat with the same `idempotency-key`.
- **Refusals** are google.rpc.Status with an ErrorInfo, whose `reason` is for programs. `x-request-id` finds a call in the log.
- **Lists** have pages: give `next_page_token` as `page_token`, and stop when it is empty.
- **Other faces.** OpenAI's Images API is at `/v1`, and tools of the Model Context Protocol are at `/mcp`.
"""


def openapi_document(descriptor_set: bytes) -> dict[str, Any]:
    """Returns the document for a serialised FileDescriptorSet that was compiled with its source info."""
    files = FileDescriptorSet.FromString(descriptor_set)
    comments = comments_of(files)
    router = router_of(descriptor_set)
    routes = _routes(descriptor_set, router)
    answers = [descriptor_of(route.response_class) for route in routes]
    schemas = Schemas(
        comments,
        [descriptor_of(route.request_class) for route in routes if _takes_message(route)],
        [each for each in answers if each.full_name != _HTTP_BODY],
    )
    refusals = Refusals(comments)
    paths: dict[str, Any] = {}
    reasons: set[str] = set()

    def commented(route: Route) -> MethodComment:
        return method_comment(comments.get(f"{route.method.service}.{route.method.name}", ""))

    for route in routes:
        comment = commented(route)
        operation = operation_of(route, comment, schemas, refusals)
        paths.setdefault(route.binding.template, {})[route.binding.verb.lower()] = operation
        reasons |= set(refusals.reasons(route.method, comment.advice))
    for own in own_operations(router, schemas, refusals, lambda route: commented(route).advice):
        paths.setdefault(own.path, {})[own.verb.lower()] = own.document
        reasons |= own.reasons
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Pingvas Studio",
            "version": "1",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag_of(service), "description": markdown(comments.get(service, ""))}
            for service in dict.fromkeys(route.method.service for route in routes)
        ]
        + [{"name": name, "description": about} for name, about in own_tags().items()],
        "security": [{"access_token": []}, {"api_key": []}],
        "paths": paths,
        "components": {
            "schemas": {**_used(schemas, paths), **refusals.schemas()},
            "examples": refusals.examples(reasons),
            "parameters": _parameters(),
            "securitySchemes": {
                "access_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token of `POST /api/v1/auth/login`. It lives for ten minutes.",
                },
                "api_key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "A key of `POST /api/v1/users/me/api-keys`, with the scope that the operation names.",
                },
            },
        },
    }


def rendered(document: dict[str, Any]) -> str:
    """Returns the document as it is committed: a line for each value, so that a change can be read."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _routes(descriptor_set: bytes, router: Router) -> list[Route]:
    """Returns the routes in the order of declaration."""
    methods = public_methods(descriptor_set)
    found = {(route.method.path, route.binding): route for route in router.routes}
    return [found[method.path, binding] for method in methods for binding in method.bindings]


def _takes_message(route: Route) -> bool:
    return bool(descriptor_of(route.request_class).fields) or route.binding.body == "*"


def _used(schemas: Schemas, paths: dict[str, Any]) -> dict[str, Any]:
    """Returns the components that some path leads to: a request whose fields are all parameters is none."""
    used: set[str] = set()
    waiting = list(_references(paths))
    while waiting:
        name = waiting.pop().removeprefix("#/components/schemas/")
        if name in schemas.components and name not in used:
            used.add(name)
            waiting += _references(schemas.components[name])
    return {name: schema for name, schema in schemas.components.items() if name in used}


def _references(document: Any) -> Iterable[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(document, list):
        for each in document:
            yield from _references(each)


def _parameters() -> dict[str, Any]:
    return {
        "IdempotencyKey": {
            "name": "idempotency-key",
            "in": "header",
            "description": "Identifies the request where `request_id` doesn't: repeated, it gets the first answer.",
            "schema": {"type": "string", "maxLength": 100},
        },
        "LastEventId": {
            "name": RESUME_HEADER,
            "in": "header",
            "description": "Is the id of the last event seen, as EventSource sends it. It counts for more than `after`.",
            "schema": {"type": "string", "maxLength": 50},
        },
    }
