"""The messages and enums of the contracts as components of the document: one JSON Schema each, as JSON has them.

Requests and answers share their messages. A field that a request must have is required; in messages that only answers
have, whatever is always printed is required.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

from edge_http.openapi.comments import markdown
from edge_http.openapi.examples import EXAMPLES, answered_example
from edge_http.openapi.rules import Schema, keywords_of, message_rules_in_words, must_be_given, needs_branch

_INT64: Final[Schema] = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_SCALARS: Final[Mapping[int, Schema]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SINT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
}
_WELL_KNOWN: Final[Mapping[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.Int32Value": {"type": "integer", "format": "int32"},
    "google.protobuf.Int64Value": _INT64,
    "google.protobuf.DoubleValue": {"type": "number", "format": "double"},
}


class Schemas:
    """The components of all messages that public methods use."""

    def __init__(
        self, comments: Mapping[str, str], requests: Iterable[Descriptor], answers: Iterable[Descriptor]
    ) -> None:
        """Takes what methods take and what they answer."""
        self._comments = comments
        self._in_requests = _reached(requests)
        in_answers = _reached(answers)
        types = {**self._in_requests, **in_answers}
        self._keys = _keys(types)
        self.components: dict[str, Schema] = {
            self._keys[name]: self._enum(each) if isinstance(each, EnumDescriptor) else self._message(each)
            for name, each in types.items()
        }

    def of_message(self, descriptor: Descriptor) -> Schema:
        """Returns the schema of a message as it stands elsewhere."""
        known = _WELL_KNOWN.get(descriptor.full_name)
        return (
            dict(known) if known is not None else {"$ref": f"#/components/schemas/{self._keys[descriptor.full_name]}"}
        )

    def of_field(self, field: FieldDescriptor) -> Schema:
        """Returns the schema of a field with its rules and its comment."""
        owner = field.containing_type
        keywords = keywords_of(field) if owner is not None and owner.full_name in self._in_requests else {}
        of_items, rule = keywords.pop("items", {}), keywords.pop("description", "")
        described = " ".join(filter(None, (self.comment(field.full_name), rule)))
        schema: Schema
        if (entry := _map_entry(field)) is not None:
            schema = {"type": "object", "additionalProperties": self._value(entry.fields_by_name["value"])}
        elif field.is_repeated:
            schema = {"type": "array", "items": {**self._value(field), **of_items}}
        else:
            schema = self._value(field)
        return {**schema, **keywords, **({"description": described} if described else {})}

    def comment(self, full_name: str) -> str:
        """Returns the comment of an element as Markdown."""
        return markdown(self._comments.get(full_name, ""))

    def _value(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return self.of_message(field.message_type)
        if field.enum_type is not None:
            return {"$ref": f"#/components/schemas/{self._keys[field.enum_type.full_name]}"}
        return dict(_SCALARS[field.type])

    def _message(self, descriptor: Descriptor) -> Schema:
        is_taken = descriptor.full_name in self._in_requests
        required = [each.name for each in descriptor.fields if (must_be_given(each) if is_taken else _is_printed(each))]
        words = (self.comment(descriptor.full_name), message_rules_in_words(descriptor) if is_taken else "")
        schema: Schema = {
            "type": "object",
            "description": " ".join(filter(None, words)),
            "properties": {each.name: self.of_field(each) for each in descriptor.fields},
        }
        if required:
            schema["required"] = required
        if choices := [_choice(each) for each in _oneofs(descriptor)]:
            schema |= choices[0] if len(choices) == 1 else {"allOf": choices}
        example = EXAMPLES.get(descriptor.full_name) if is_taken else answered_example(descriptor)
        if example is not None:
            schema["examples"] = [example]
        return schema

    def _enum(self, descriptor: EnumDescriptor) -> Schema:
        values = [each.name for each in descriptor.values]
        told = [f"- `{name}`: {self.comment(f'{descriptor.full_name}.{name}')}" for name in values]
        return {
            "type": "string",
            "description": "\n".join([self.comment(descriptor.full_name), "", *told]),
            "enum": values,
        }


def _choice(oneof: OneofDescriptor) -> Schema:
    """Returns that one branch is given, or that one at most is."""
    branches = [{"required": [each.name]} for each in oneof.fields]
    return {"oneOf": branches if needs_branch(oneof) else [*branches, {"not": {"anyOf": branches}}]}


def _oneofs(descriptor: Descriptor) -> list[OneofDescriptor]:
    """Returns the oneofs that a contract declares; an optional field is one of its own to protobuf."""
    return [each for each in descriptor.oneofs if not (len(each.fields) == 1 and each.name.startswith("_"))]


def _is_printed(field: FieldDescriptor) -> bool:
    """Returns whether an answer has the field whatever its value."""
    return field.is_repeated or not field.has_presence


def _map_entry(field: FieldDescriptor) -> Descriptor | None:
    """Returns the type of a map's entries, or None for a field that is no map."""
    inner = field.message_type
    return inner if inner is not None and inner.GetOptions().map_entry else None


def _reached(roots: Iterable[Descriptor]) -> dict[str, Any]:
    """Returns the messages and enums that messages hold, however deep, themselves included, in the order of discovery."""
    found: dict[str, Any] = {}
    waiting: list[Any] = list(roots)
    while waiting:
        each = waiting.pop(0)
        if each.full_name in found or each.full_name in _WELL_KNOWN:
            continue
        if isinstance(each, Descriptor) and each.GetOptions().map_entry:
            waiting += _types_of(each)
            continue
        found[each.full_name] = each
        if isinstance(each, Descriptor):
            waiting += _types_of(each)
    return found


def _types_of(descriptor: Descriptor) -> list[Any]:
    return [each.message_type or each.enum_type for each in descriptor.fields if each.message_type or each.enum_type]


def _keys(types: Mapping[str, Any]) -> dict[str, str]:
    """Returns the component's name of each type: the shortest that is its own."""
    simple = [each.name for each in types.values()]
    return {name: each.name if simple.count(each.name) == 1 else name for name, each in types.items()}
