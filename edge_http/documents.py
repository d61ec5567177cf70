"""Reads JSON and query parameters into messages, and refuses whatever a contract doesn't know by the path of its field.

The JSON parser of protobuf would take the last of two equal names, NaN, and any depth that its stack bears; all three are
refused here, where the caller can be told which.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NoReturn, cast

from fastapi import Request
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from edge_http.suggestions import nearest
from svc_common.errors import FieldViolation, Reason, ServiceError
from svc_common.interceptors.size_rule import max_items

_BODY_BYTES: Final = 4 << 20
_DEEPEST: Final = 64
_SHOWN_CHARACTERS: Final = 100
_MARKS: Final = 100_000
_WELL_KNOWN: Final = "google.protobuf."


def malformed(message: str, field: str = "") -> ServiceError:
    """Returns the refusal of a request that can't be read; `field` is the path of the field at fault, if there is one."""
    violations = (FieldViolation(field, message),) if field else ()
    return ServiceError(Reason.REQUEST_MALFORMED, message, violations=violations)


async def body_of(request: Request, *, limit_bytes: int = _BODY_BYTES) -> bytes:
    """Returns the body; reads no more of one that is too large than shows that."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        _require_size(len(content), limit_bytes)
    return bytes(content)


def limited(request: Request, limit_bytes: int) -> Receive:
    """Returns what gives the body of a request, for whatever reads it by itself, until it is too large."""
    received = 0

    async def receive() -> AsgiMessage:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        _require_size(received, limit_bytes)
        return message

    return receive


def _require_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise ServiceError(
            Reason.REQUEST_TOO_LARGE,
            f"The request is larger than {limit_bytes:,} bytes. Send less.",
            metadata={"limit_bytes": str(limit_bytes)},
        )


def read_json(content: bytes) -> Any:
    """Returns what a body holds; an empty one holds an empty object.

    Raises:
        ServiceError: REQUEST_MALFORMED, which says what is wrong and where.
    """
    if not content.strip():
        return {}
    # Counted before anything is made of them: no request that keeps its contract has nearly as many.
    if sum(content.count(mark) for mark in (b"{", b"[", b",")) > _MARKS:
        raise malformed(f"The body holds more than {_MARKS:,} braces, brackets and commas. Send less.")
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object_without_repetitions, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        raise malformed(
            f"The body isn't valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except UnicodeDecodeError as error:
        raise malformed(f"The body isn't UTF-8: byte {error.start} can't be read.") from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # an integer of thousands of digits
        raise malformed("The body holds a number that is too long.") from error
    _refuse_depth(document, _DEEPEST)
    return document


def message_of(message_class: type[Message], fields: dict[str, Any], shown_from: str = "") -> Message:
    """Returns the message that a JSON object stands for.

    `shown_from` is the field in which the caller's own document begins: types of values are explained from there.

    Raises:
        ServiceError: REQUEST_MALFORMED, with the path of a field that isn't known or can't hold its value.
    """
    _refuse_unknown(descriptor_of(message_class), fields, ())
    try:
        return json_format.ParseDict(fields, message_class())
    except (json_format.ParseError, ValueError, TypeError, OverflowError, RecursionError) as error:
        detail = " ".join(str(error).split())[:300]
        raise malformed(f"A value doesn't fit its field: {detail}", shown_from) from error


def descriptor_of(message_class: type[Message]) -> Descriptor:
    """Returns a class's descriptor, which the published types know under two names."""
    return cast("Descriptor", message_class.DESCRIPTOR)


def add_parameters(descriptor: Descriptor, fields: dict[str, Any], parameters: Iterable[tuple[str, str]]) -> None:
    """Adds query parameters such as `page_size=7` or `text_to_image.seed=3` to a JSON object.

    Raises:
        ServiceError: REQUEST_MALFORMED, for one that isn't known, is given twice, or is given elsewhere as well.
    """
    for name, text in parameters:
        *parents, last = name.split(".")
        target, here = fields, descriptor
        for parent in parents:
            field = _known_field(here, parent, name)
            if field.message_type is None or field.is_repeated:
                _refuse_parameter(name, ())
            here, target = field.message_type, target.setdefault(field.name, {})
            if not isinstance(target, dict):
                raise malformed(f"The query parameter {_shown(name)} and the body name the same field.", name)
        field = _known_field(here, last, name)
        if field.message_type is not None and not field.message_type.full_name.startswith(_WELL_KNOWN):
            raise malformed(f"The query parameter {_shown(name)} is a message: name a field of it.", name)
        value = _parameter_value(field, text, name)
        if field.is_repeated:
            target.setdefault(field.name, []).append(value)
        elif field.name in target or field.json_name in target:
            raise malformed(f"The query parameter {_shown(name)} is given twice.", name)
        else:
            target[field.name] = value


def _known_field(descriptor: Descriptor, part: str, name: str) -> FieldDescriptor:
    field = _fields(descriptor).get(part)
    if field is None:
        _refuse_parameter(name, descriptor.fields_by_name)
    return field


def _refuse_parameter(name: str, known: Collection[str]) -> NoReturn:
    meant = nearest(name.rpartition(".")[2], known)
    hint = f"; did you mean {meant}?" if meant else "."
    raise malformed(f"Unknown query parameter {_shown(name)}{hint}", _shown(name))


def _parameter_value(field: FieldDescriptor, text: str, name: str) -> object:
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    if text not in ("true", "false"):
        raise malformed(f"The query parameter {name} must be true or false.", name)
    return text == "true"


def _refuse_unknown(descriptor: Descriptor, document: Mapping[str, Any], path: tuple[str, ...]) -> None:
    known = _fields(descriptor)
    for name, value in document.items():
        field = known.get(name)
        here = (*path, _shown(name))
        if field is None:
            meant = nearest(name, descriptor.fields_by_name)
            hint = f"; did you mean {meant}?" if meant else "."
            raise malformed(f"Unknown field {'.'.join(here)}{hint}", ".".join(here))
        _look_into(field, value, here)


def _look_into(field: FieldDescriptor, value: object, path: tuple[str, ...]) -> None:
    descriptor = field.message_type
    if descriptor is None or descriptor.full_name.startswith(_WELL_KNOWN) or value is None:
        return
    if descriptor.GetOptions().map_entry:
        inner = descriptor.fields_by_name["value"]
        for key, each in value.items() if isinstance(value, dict) else ():
            _look_into(inner, each, (*path, _shown(key)))
        return
    if field.is_repeated and not isinstance(value, list):
        raise malformed(f"{'.'.join(path)} must be a list.", ".".join(path))
    if field.is_repeated and isinstance(value, list) and len(value) > (limit := max_items(field)):
        violation = FieldViolation(".".join(path), f"must contain at most {limit} item(s)")
        message = f"The request breaks its contract. {violation.field}: {violation.description}."
        raise ServiceError(Reason.INVALID_FIELD, message, violations=[violation])
    items: list[Any] = value if field.is_repeated and isinstance(value, list) else [value]
    for index, each in enumerate(items):
        here = (*path[:-1], f"{path[-1]}[{index}]") if field.is_repeated else path
        if not isinstance(each, dict):
            raise malformed(f"{'.'.join(here)} must be a JSON object.", ".".join(here))
        _refuse_unknown(descriptor, each, here)


def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Returns the fields by the names that JSON may give them: the contract's own, and the one in camelCase."""
    named = {field.json_name: field for field in descriptor.fields}
    return named | {field.name: field for field in descriptor.fields}


def _object_without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise malformed(f"The field {_shown(twice)} is given twice.", _shown(twice))
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise malformed(f"The body holds {name}, which isn't JSON.")


def _refuse_depth(document: object, left: int) -> None:
    if left == 0:
        raise _too_deep()
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    for each in inner:
        if isinstance(each, dict | list):
            _refuse_depth(each, left - 1)


def _too_deep() -> ServiceError:
    return malformed(f"The body is nested deeper than {_DEEPEST} levels.")


def _shown(name: str) -> str:
    """Returns a caller's own name for a message: short, and without characters that a terminal would obey."""
    plain = "".join(character if character.isprintable() else "?" for character in name)
    return plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "..."
