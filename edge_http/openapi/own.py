"""Operations of the bridge's own routes, from what stands beside their handlers."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from edge_http.documents import descriptor_of
from edge_http.openapi.comments import MethodComment, method_comment
from edge_http.openapi.operations import Schema, access_of, described, tag_of
from edge_http.openapi.refusals import Refusals
from edge_http.openapi.schemas import Schemas
from edge_http.own_routes import OwnRoute, declared_by
from edge_http.picture_bytes import PictureBytes
from edge_http.platform_status import PlatformStatus
from edge_http.routing import Route, Router
from edge_http.sign_in import SignIns
from edge_http.webhooks import Webhooks

OWNERS: Final = (PictureBytes, SignIns, Webhooks, PlatformStatus)
"""The classes whose routes people and their programs call."""

_PREFIX: Final = "/api/v1/"
_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_PATH_SCHEMA: Final = {"type": "string"}
# Their answers have bytes, or a message.
_WITH_CONTENT: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, where it stands in the document, and the reasons of its refusals."""

    verb: str
    path: str
    document: Schema
    reasons: frozenset[str]


def own_tags() -> dict[str, str]:
    """Returns each heading that no service of the contract has, and what it says."""
    return {
        route.tag: (inspect.getdoc(owner) or "").partition("\n\n")[0]
        for owner in OWNERS
        for route, _ in declared_by(owner)
        if route.tag
    }


def own_operations(
    router: Router, schemas: Schemas, refusals: Refusals, advice: Callable[[Route], Mapping[str, str]]
) -> Iterator[Operation]:
    """Yields the operation of every own route; `advice` tells what a method's comment says of its refusals."""
    for owner in OWNERS:
        for own, handler in declared_by(owner):
            reached = router.named(own.method) if own.method else None
            # What can be raised is told by the refusals.
            comment = method_comment((inspect.getdoc(handler) or "").partition("\n\nRaises:")[0])
            told = advice(reached) if reached else {}
            reasons = refusals.reasons(reached.method if reached else None, {**told, **dict.fromkeys(own.reasons, "")})
            name = f"{tag_of(reached.method.service) if reached else own.tag}_{handler.__name__}"
            for path in own.paths:
                for verb in own.verbs:
                    document = {
                        "operationId": _operation_id(name, own, verb, path),
                        **_operation(own, verb, path, reached, comment, schemas),
                    }
                    document["responses"] |= refusals.told(reasons, told)
                    yield Operation(verb, path, document, frozenset(reasons))


def _operation_id(name: str, own: OwnRoute, verb: str, path: str) -> str:
    words = re.findall(r"\w+", path.removeprefix(_PREFIX)) if len(own.paths) > 1 else []
    return "_".join([name, *words, *([verb.lower()] if verb != own.verbs[0] else [])])


def _operation(
    own: OwnRoute, verb: str, path: str, reached: Route | None, comment: MethodComment, schemas: Schemas
) -> Schema:
    operation: Schema = {
        "tags": [tag_of(reached.method.service) if reached else own.tag],
        "summary": comment.summary,
        "description": described(comment, reached.method if reached else None),
    }
    if parameters := [*_path_parameters(path, reached, schemas), *_given(own)]:
        operation["parameters"] = parameters
    if own.body:
        content = {media_type: {"schema": schema} for media_type, schema in own.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        str(status): _response(status, text, own, verb, reached, schemas) for status, text in own.answers.items()
    }
    return operation | (access_of(reached.method) if reached else {"security": []})


def _path_parameters(path: str, reached: Route | None, schemas: Schemas) -> Iterator[Schema]:
    """Yields the variables of a path, which are fields of the method's request."""
    fields = descriptor_of(reached.request_class).fields_by_name if reached else {}
    for name in _VARIABLE.findall(path):
        schema = schemas.of_field(fields[name]) if name in fields else dict(_PATH_SCHEMA)
        about = schema.pop("description", "")
        yield {"name": name, "in": "path", "description": about, "schema": schema, "required": True}


def _given(own: OwnRoute) -> Iterator[Schema]:
    for place, names in (("query", own.query), ("header", own.headers)):
        for name, about in names.items():
            yield {"name": name, "in": place, "description": about, "schema": {"type": "string"}}


def _response(status: int, text: str, own: OwnRoute, verb: str, reached: Route | None, schemas: Schemas) -> Schema:
    response: Schema = {"description": text}
    if status in _WITH_CONTENT and verb != "HEAD":
        if own.media_types:
            response["content"] = {media_type: {"schema": {}} for media_type in own.media_types}
        elif own.schema is not None:
            response["content"] = {"application/json": {"schema": own.schema}}
        elif reached:
            message = descriptor_of(reached.response_class)
            response["content"] = {"application/json": {"schema": schemas.of_message(message)}}
    return response
