"""What an operation may be refused with: google.rpc.Status under each HTTP status, with a sample for each reason."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor
from pingvas.common.v1 import error_reason_pb2

from edge_http.answers import http_status_of_reason
from edge_http.openapi.comments import ReasonComment, reason_comment
from svc_common.contracts import PublicMethod
from svc_common.errors import CODES, ERROR_DOMAIN, Reason

Schema = dict[str, Any]

_TYPE: Final = "type.googleapis.com/google.rpc."
_ENUM: Final = "pingvas.common.v1.ErrorReason"
_ALWAYS: Final = (
    Reason.REQUEST_MALFORMED,
    Reason.OVERLOADED,
    Reason.INTERNAL,
    Reason.DEPENDENCY_UNAVAILABLE,
    Reason.DEADLINE_TOO_SHORT,
)
_OF_A_CREDENTIAL: Final = (
    Reason.CREDENTIALS_MISSING,
    Reason.TOKEN_INVALID,
    Reason.TOKEN_EXPIRED,
    Reason.API_KEY_INVALID,
    Reason.SCOPE_MISSING,
    Reason.ACCOUNT_SUSPENDED,
)


class Refusals:
    """The reasons of the contracts as components and responses."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        """Takes the comments of the contracts."""
        values: EnumDescriptor = error_reason_pb2.ErrorReason.DESCRIPTOR
        names = [name.removeprefix("ERROR_REASON_") for name in values.values_by_name]
        self._told: dict[str, ReasonComment] = {
            name: reason_comment(comments.get(f"{_ENUM}.ERROR_REASON_{name}", ""))
            for name in names
            if name in list(Reason)
        }

    def schemas(self) -> dict[str, Schema]:
        """Returns the components that every refusal is made of."""
        told = [f"- `{name}` ({CODES[Reason(name)].name}): {each.description}" for name, each in self._told.items()]
        return {
            "Status": {
                "type": "object",
                "description": "Says why a call was refused. The first of `details` is an ErrorInfo.",
                "properties": {
                    "code": {
                        "type": "integer",
                        "format": "int32",
                        "description": "Is the code of gRPC (google.rpc.Code).",
                    },
                    "message": {"type": "string", "description": "Tells a person what happened and what to do."},
                    "details": {
                        "type": "array",
                        "description": "Lists the details, each with its `@type`.",
                        "items": _any_of("ErrorInfo", "BadRequest", "RetryInfo"),
                    },
                },
                "required": ["code", "message", "details"],
            },
            "ErrorInfo": _detail(
                "ErrorInfo",
                "Names the reason for programs.",
                reason={"$ref": "#/components/schemas/Reason", "description": "Names the reason."},
                domain={"type": "string", "const": ERROR_DOMAIN, "description": "Names whose reasons these are."},
                metadata={
                    "type": "object",
                    "description": "Holds what the reason's sample shows.",
                    "additionalProperties": {"type": "string"},
                },
            ),
            "BadRequest": _detail(
                "BadRequest",
                "Names each field at fault.",
                field_violations={
                    "type": "array",
                    "description": "Lists the fields.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "field": {
                                "type": "string",
                                "description": "Is its path, such as `text_to_image.width_px`.",
                            },
                            "description": {"type": "string"},
                        },
                        "required": ["field", "description"],
                    },
                },
            ),
            "RetryInfo": _detail(
                "RetryInfo",
                "Says when to call again; the header `retry-after` has it as well.",
                retry_delay={"type": "string", "description": "Is a number of seconds, such as `1.500s`."},
            ),
            "Reason": {
                "type": "string",
                "description": "\n".join(["Names why a call was refused. The list only grows.", "", *told]),
                "examples": [Reason.INSUFFICIENT_CREDITS.value],
            },
        }

    def examples(self, reasons: Iterable[str]) -> dict[str, Any]:
        """Returns a sample of the refusal for each reason."""
        return {
            name: {"summary": name, "value": self._sample(Reason(name))} for name in self._told if name in set(reasons)
        }

    def responses(self, method: PublicMethod, advice: Mapping[str, str]) -> dict[str, Any]:
        """Returns the responses of an operation by HTTP status; `advice` is what its own comment says of reasons."""
        return self.told(self.reasons(method, advice), advice)

    def told(self, names: Iterable[str], advice: Mapping[str, str]) -> dict[str, Any]:
        """Returns the responses for some reasons by HTTP status."""
        by_status: dict[int, list[str]] = {}
        for name in names:
            status = http_status_of_reason(Reason(name))
            by_status.setdefault(status, []).append(name)
        responses = {str(status): self._response(names, advice) for status, names in sorted(by_status.items())}
        return {**responses, "default": {"description": "Any other refusal.", "content": _status_content({})}}

    def reasons(self, method: PublicMethod | None, advice: Mapping[str, str]) -> list[str]:
        """Returns the names of what an operation may be refused with; one without a method has what `advice` names."""
        names = {*advice, *_ALWAYS}
        if method is None:
            return [name for name in self._told if name in names]
        if not method.anonymous:
            names |= set(_OF_A_CREDENTIAL)
        if method.role:
            names.add(Reason.ROLE_MISSING)
        if any(binding.body or binding.variables for binding in method.bindings) or not method.reads_only:
            names.add(Reason.INVALID_FIELD)
        if any(binding.body for binding in method.bindings):
            names.add(Reason.REQUEST_TOO_LARGE)
        return [name for name in self._told if name in names]

    def _response(self, names: list[str], advice: Mapping[str, str]) -> Schema:
        told = [f"- `{name}`: {advice.get(name) or self._told[name].description}" for name in names]
        return {
            "description": "\n".join(told),
            "content": _status_content({name: {"$ref": f"#/components/examples/{name}"} for name in names}),
        }

    def _sample(self, reason: Reason) -> Schema:
        info = {
            "@type": f"{_TYPE}ErrorInfo",
            "reason": reason.value,
            "domain": ERROR_DOMAIN,
            "metadata": dict(self._told[reason.value].metadata),
        }
        return {"code": int(CODES[reason]), "message": self._told[reason.value].description, "details": [info]}


def _detail(name: str, description: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": {
            "@type": {"type": "string", "const": _TYPE + name, "description": "Tells what the detail is."},
            **properties,
        },
        "required": ["@type", *properties],
    }


def _any_of(*names: str) -> Schema:
    known = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return {"anyOf": [*known, {"type": "object", "required": ["@type"]}]}


def _status_content(examples: Schema) -> Schema:
    content: Schema = {"schema": {"$ref": "#/components/schemas/Status"}}
    return {"application/json": {**content, "examples": examples} if examples else content}
