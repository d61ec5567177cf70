"""The one rule that every text of every request keeps, stated for no field because it holds for all: it can be stored.

It is read from the descriptors, so that a new field is covered when it is added. Which fields of a message hold text, however
deep, is found once for each type; a call visits those only that are set.
"""

from collections.abc import Iterator
from functools import cache
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from svc_common.errors import FieldViolation
from svc_common.text import REMEDY, is_storable


def text_violations(message: Message) -> list[FieldViolation]:
    """Returns the texts of a message that can't be stored, each with its path, such as `text_to_image.prompt`."""
    return [FieldViolation(path, REMEDY) for path in _unstorable(message)]


def _unstorable(message: Message) -> Iterator[str]:
    """Yields the paths of the texts that can't be stored."""
    fields = _text_fields(message.DESCRIPTOR)
    for field, value in message.ListFields():
        if field.number in fields:
            for inner in _within(field, value):
                yield f"{field.name}{inner}"


def _within(field: FieldDescriptor, value: Any) -> Iterator[str]:
    """Yields where in a field's value unstorable text stands, as it continues the field's name."""
    if _is_map(field):
        for key in value:
            if isinstance(key, str) and not is_storable(key):
                yield f"[{key!r}]"
            yield from (f"[{key!r}]{inner}" for inner in _within_one(value[key]))
    elif field.is_repeated:
        for index, each in enumerate(value):
            yield from (f"[{index}]{inner}" for inner in _within_one(each))
    else:
        yield from _within_one(value)


def _within_one(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not is_storable(value):
            yield ""
    elif isinstance(value, Message):
        yield from (f".{inner}" for inner in _unstorable(value))


@cache
def _text_fields(descriptor: Descriptor) -> MappingProxyType[int, FieldDescriptor]:
    """Returns the fields that are text or hold some, by their numbers."""
    return MappingProxyType({field.number: field for field in descriptor.fields if _holds_text(field, frozenset())})


def _holds_text(field: FieldDescriptor, passed: frozenset[str]) -> bool:
    """Tells whether text can stand in a field; `passed` are the types on the way to it, since types may hold themselves."""
    inner = field.message_type
    if inner is None:
        return bool(field.type == FieldDescriptor.TYPE_STRING)
    if inner.full_name in passed:
        return False
    return any(_holds_text(each, passed | {inner.full_name}) for each in inner.fields)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
