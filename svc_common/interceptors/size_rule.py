"""How many items a request may hold, asked before anything looks at each of them.

The limits are those of the contracts (`repeated.max_items`). protovalidate asks for them too, but together with the rules of
every single item: a body of four megabytes can hold a million empty ones, and explaining each would take many seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from svc_common.errors import FieldViolation

_UNSTATED_LIMIT: Final = 1000
"""For a field whose contract states none."""


def size_violations(message: Message) -> list[FieldViolation]:
    """Returns the lists and maps of a message that hold too many items, each with its path, such as `text_to_image.loras`."""
    return [FieldViolation(path, f"must contain at most {limit} item(s)") for path, limit in _too_long(message)]


def max_items(field: FieldDescriptor) -> int:
    """Returns how many items a list may hold by its contract."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    stated = rules.repeated.max_items or rules.map.max_pairs
    return int(stated or _UNSTATED_LIMIT)


@dataclass(frozen=True, slots=True)
class _Place:
    """A field that is a list or holds some."""

    name: str
    limit: int
    """0 for a message that holds lists."""
    has_inner: bool
    """Whether there are lists within its items."""


def _too_long(message: Message) -> Iterator[tuple[str, int]]:
    for place in _places(message.DESCRIPTOR):
        name = place.name
        if not place.limit:
            if message.HasField(name):
                yield from ((f"{name}.{path}", limit) for path, limit in _too_long(getattr(message, name)))
            continue
        items = getattr(message, name)
        if len(items) > place.limit:
            yield name, place.limit
        elif place.has_inner:
            for index, each in enumerate(items):
                yield from ((f"{name}[{index}].{path}", limit) for path, limit in _too_long(each))


@cache
def _places(descriptor: Descriptor) -> tuple[_Place, ...]:
    """Returns the fields of a message that are to be looked at."""
    return tuple(
        _Place(field.name, max_items(field) if field.is_repeated else 0, _holds_list(field, frozenset()))
        for field in descriptor.fields
        if field.is_repeated or _holds_list(field, frozenset())
    )


def _holds_list(field: FieldDescriptor, passed: frozenset[str]) -> bool:
    """Tells whether a message has lists somewhere; `passed` are the types on the way to it, since types may hold themselves.

    The values of maps aren't looked into: no request has a map of messages.
    """
    inner = field.message_type
    if inner is None or inner.full_name in passed or inner.GetOptions().map_entry:
        return False
    return any(each.is_repeated or _holds_list(each, passed | {inner.full_name}) for each in inner.fields)
