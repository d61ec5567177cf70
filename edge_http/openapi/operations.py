"""One operation for each HTTP form of a method: its parameters, its body, its answer."""

import re
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from edge_http.documents import descriptor_of
from edge_http.openapi.comments import MethodComment
from edge_http.openapi.examples import EXAMPLES, answered_example
from edge_http.openapi.refusals import Refusals
from edge_http.openapi.rules import must_be_given
from edge_http.openapi.schemas import Schemas
from edge_http.routing import Route
from edge_http.streams import RESUME_FIELD, RESUME_HEADER
from svc_common.contracts import PublicMethod

Schema = dict[str, Any]

_PREFIX: Final = "/api/v1/"
_WELL_KNOWN: Final = "google.protobuf."
_IDEMPOTENCY: Final = {"$ref": "#/components/parameters/IdempotencyKey"}
_RESUME: Final = {"$ref": "#/components/parameters/LastEventId"}
_HTTP_BODY: Final = "google.api.HttpBody"


def operation_of(route: Route, comment: MethodComment, schemas: Schemas, refusals: Refusals) -> Schema:
    """Returns the operation of a route."""
    method, request = route.method, descriptor_of(route.request_class)
    operation: Schema = {
        "operationId": operation_id(route),
        "tags": [tag_of(method.service)],
        "summary": comment.summary,
        "description": described(comment, method, _relation(route)),
    }
    if parameters := [*_path_parameters(route, schemas), *_query_parameters(route, schemas), *_headers(request, route)]:
        operation["parameters"] = parameters
    if route.binding.body:
        operation["requestBody"] = _body(route, request, schemas)
    operation["responses"] = {**_answers(route, schemas), **refusals.responses(method, comment.advice)}
    return operation | access_of(method)


def described(comment: MethodComment, method: PublicMethod | None, relation: str = "") -> str:
    """Returns what an operation does, and what its caller needs."""
    needs = (_scope(method), _role(method)) if method else ()
    return "\n\n".join(filter(None, (comment.description, relation, *needs)))


def access_of(method: PublicMethod) -> Schema:
    """Returns who may call, where that isn't what the document says of all."""
    if method.anonymous:
        return {"security": []}
    return {} if method.scope else {"security": [{"access_token": []}]}


def _scope(method: PublicMethod) -> str:
    """Returns what an API key needs, as a sentence; empty where no key is of use."""
    return f"An API key needs the scope `{method.scope}`." if method.scope else ""


def _role(method: PublicMethod) -> str:
    """Returns what a person needs, as a sentence; empty where everybody may call."""
    return f"The caller needs the role `{method.role}`." if method.role else ""


def operation_id(route: Route) -> str:
    """Returns a name that is the operation's own: the method's, with what tells its HTTP forms apart."""
    service = route.method.service.rpartition(".")[2]
    name = f"{service}_{route.method.name}"
    if len(route.method.bindings) == 1:
        return name
    if route.binding.body not in ("", "*"):
        return f"{name}_{route.binding.body}"
    if route.binding == route.method.bindings[0]:
        return name
    words = re.findall(r"\w+", route.binding.template.removeprefix(_PREFIX))
    return "_".join([name, *words])


def tag_of(service: str) -> str:
    """Returns the heading under which the operations of a service stand."""
    return service.rpartition(".")[2].removesuffix("Service")


def _relation(route: Route) -> str:
    """Returns how the form is related to the method's first one."""
    first = route.method.bindings[0]
    if route.binding == first:
        return ""
    same = route.binding.body == first.body
    return f"The same call as `{first.verb} {first.template}`" + ("." if same else ", with another body.")


def _path_parameters(route: Route, schemas: Schemas) -> Iterator[Schema]:
    fields = descriptor_of(route.request_class).fields_by_name
    for name in route.binding.variables:
        yield _parameter(name, "path", schemas.of_field(fields[name]), required=True)


def _query_parameters(route: Route, schemas: Schemas) -> Iterator[Schema]:
    """Yields the fields that neither the path nor the body has; a branch beside that of the body can't be given."""
    if route.binding.body == "*":
        return
    fields = descriptor_of(route.request_class).fields
    taken = {*route.binding.variables, route.binding.body}
    chosen = [field.containing_oneof for field in fields if field.name in taken and field.containing_oneof]
    for field in fields:
        if field.name not in taken and field.containing_oneof not in chosen:
            yield from _query_of_field(field, schemas, "", required=must_be_given(field))


def _query_of_field(field: FieldDescriptor, schemas: Schemas, prefix: str, *, required: bool) -> Iterator[Schema]:
    """Yields a field as parameters: those of a message are named by their path, such as `text_to_image.seed`."""
    inner = field.message_type
    if inner is None or inner.full_name.startswith(_WELL_KNOWN):
        yield _parameter(prefix + field.name, "query", schemas.of_field(field), required=required)
    elif not field.is_repeated:
        for each in inner.fields:
            if each.message_type is not inner:
                yield from _query_of_field(each, schemas, f"{prefix}{field.name}.", required=False)


def _parameter(name: str, place: str, schema: Schema, *, required: bool) -> Schema:
    description = schema.pop("description", "")
    parameter: Schema = {"name": name, "in": place, "description": description, "schema": schema}
    return {**parameter, "required": True} if required else parameter


def _headers(request: Descriptor, route: Route) -> list[Schema]:
    headers = []
    if "request_id" in request.fields_by_name:
        headers.append(_IDEMPOTENCY)
    if route.method.streams and RESUME_FIELD in request.fields_by_name:
        headers.append(_RESUME)
    return headers


def _body(route: Route, request: Descriptor, schemas: Schemas) -> Schema:
    name = route.binding.body
    message = request if name == "*" else request.fields_by_name[name].message_type or request
    content: Schema = {"schema": schemas.of_message(message)}
    if (example := EXAMPLES.get(message.full_name)) is not None:
        content["example"] = example
    return {"required": True, "content": {"application/json": content}}


def _answers(route: Route, schemas: Schemas) -> Schema:
    answer = descriptor_of(route.response_class)
    if answer.full_name == _HTTP_BODY:
        return {"200": {"description": "The content itself, of its own type.", "content": {"*/*": {"schema": {}}}}}
    part = route.binding.response_body
    schema = schemas.of_field(answer.fields_by_name[part]) if part else schemas.of_message(answer)
    sample = None if part else answered_example(answer)
    example = {} if sample is None else {"example": sample}
    if route.method.streams:
        return _streamed(schema, example)
    described = schemas.comment(answer.full_name) or "The answer."
    return {"200": {"description": described, "content": {"application/json": {"schema": schema, **example}}}}


def _streamed(schema: Schema, example: Schema) -> Schema:
    """Returns the answers of a stream: each schema is that of one event or line, as OpenAPI 3.2 has it in `itemSchema`."""
    events = (
        "A stream. As server-sent events, each has its place in `id`, and a message in `data`; comments keep the "
        "connection open, and a last event named `error` has a Status. As NDJSON, each line is a message, or an object whose "
        f"`error` is a Status. To go on where a stream was cut, give the last id as `{RESUME_HEADER}` or `{RESUME_FIELD}`."
    )
    event = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": schema},
        },
        "required": ["data"],
    }
    return {
        "200": {
            "description": events,
            "content": {
                "text/event-stream": {"schema": event},
                "application/x-ndjson": {"schema": schema, **example},
            },
        },
        "204": {"description": "The stream has nothing more to say, now or later; EventSource doesn't come back."},
    }
