"""Renders the script with which Envoy refuses unknown fields and verbs: a table of the contracts, then `request_check.lua`.

The table says which HTTP forms there are, and which fields each message of a body has. How requests are read and refused
stands in the script.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from edge_envoy.aliases import FIELD_ALIASES
from edge_envoy.grpc_faults import grpc_faults
from svc_common.contracts import HttpBinding, PublicMethod
from svc_common.errors import ERROR_DOMAIN

_SCRIPT: Final = Path(__file__).with_name("request_check.lua")

# Their JSON isn't that of their fields, and may hold any.
_FREE_FORM: Final = frozenset(f"google.protobuf.{name}" for name in ("Any", "ListValue", "Struct", "Value"))

Messages = Mapping[str, DescriptorProto]


def request_check(methods: Iterable[PublicMethod], descriptor_set: bytes, body_bytes: int) -> str:
    """Returns the Lua script for the methods of a serialised FileDescriptorSet."""
    contract = {**contract_table(methods, descriptor_set), "faults": grpc_faults(body_bytes)}
    return f"local CONTRACT = {lua_literal(contract)}\n\n{_SCRIPT.read_text(encoding='utf-8')}"


def contract_table(methods: Iterable[PublicMethod], descriptor_set: bytes) -> dict[str, Any]:
    """Returns what the script must know of the contracts, in the form that its head describes."""
    known = messages_of(descriptor_set)
    bindings = [_binding(method, binding, known) for method in methods for binding in method.bindings]
    messages: dict[str, Any] = {}
    for binding in bindings:
        if binding["body"]:
            _add_message(binding["message"], known, messages)
    return {"domain": ERROR_DOMAIN, "bindings": bindings, "messages": messages, "aliases": dict(FIELD_ALIASES)}


def messages_of(descriptor_set: bytes) -> Messages:
    """Returns every message of a serialised FileDescriptorSet by its full name."""
    return {
        name: message
        for file in FileDescriptorSet.FromString(descriptor_set).file
        for name, message in _named(file.package, file.message_type)
    }


def lua_literal(value: Any) -> str:
    """Returns strings of printable ASCII, lists and mappings of them as Lua source."""
    if isinstance(value, str):
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{value!r} isn't printable ASCII")
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{lua_literal(key)}] = {lua_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence):
        return "{" + ", ".join(map(lua_literal, value)) + "}"
    raise TypeError(f"no Lua literal for {value!r}")


def _named(scope: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _named(name, message.nested_type)


def _binding(method: PublicMethod, binding: HttpBinding, known: Messages) -> dict[str, str]:
    message = method.request
    if binding.body not in {"", "*"}:
        (field,) = (field for field in known[method.request].field if field.name == binding.body)
        message = field.type_name.removeprefix(".")
    return {"verb": binding.verb, "template": binding.template, "body": binding.body, "message": message}


def _add_message(name: str, known: Messages, into: dict[str, Any]) -> None:
    if name in into:
        return
    fields: dict[str, str] = {}
    into[name] = {"names": [field.name for field in known[name].field], "fields": fields}
    for field in known[name].field:
        spec, inner = _value(field, known)
        fields[field.name] = fields[field.json_name] = spec
        if inner:
            _add_message(inner, known, into)


def _value(field: FieldDescriptorProto, known: Messages) -> tuple[str, str]:
    """Returns what the script calls a field's value, and the message that it leads to, if any."""
    if field.type != FieldDescriptorProto.TYPE_MESSAGE:
        return "", ""
    inner, mark = field.type_name.removeprefix("."), ">"
    if known[inner].options.map_entry:
        (value,) = (each for each in known[inner].field if each.name == "value")
        if value.type != FieldDescriptorProto.TYPE_MESSAGE:
            return "", ""
        inner, mark = value.type_name.removeprefix("."), "*>"
    return ("", "") if inner in _FREE_FORM else (f"{mark}{inner}", inner)
