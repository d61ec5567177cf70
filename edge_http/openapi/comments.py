"""What the comments of the contracts say, by the full name of the element that they stand before, as Markdown."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

# Numbers of fields in descriptor.proto, of which the paths of source locations are made.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS = 2, 3, 4
_ENUM_VALUES, _SERVICE_METHODS = 2, 2

_Path = tuple[int, ...]
_ERRORS: Final = re.compile(r"^Errors:$", re.MULTILINE)
_CODE_AND_REASONS: Final = re.compile(r"[A-Z_]+ \(([A-Z_]+(?:, [A-Z_]+)*)\)")
_FIRST_SENTENCE: Final = re.compile(r"(.+?)[.:](?:\s|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MethodComment:
    """What a method's comment says: in one sentence, in full, and what the caller should do about each reason."""

    summary: str
    description: str
    advice: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReasonComment:
    """What the comment of a reason says, and the metadata of its sample."""

    description: str
    metadata: Mapping[str, str]


def comments_of(files: FileDescriptorSet) -> dict[str, str]:
    """Returns the comment of each element that has one. The set must have been compiled with its source info."""
    found = {}
    for file in files.file:
        names = dict(_names(file))
        for location in file.source_code_info.location:
            if (name := names.get(tuple(location.path))) and location.leading_comments:
                found[name] = _dedented(location.leading_comments)
    return found


def markdown(comment: str) -> str:
    """Returns a comment as Markdown: a paragraph is one line, and what looks like a tag of HTML stays text."""
    blocks = re.split(r"\n\s*\n", comment)
    return "\n\n".join(_escaped(_unwrapped(block)) for block in blocks).strip()


def method_comment(comment: str) -> MethodComment:
    """Returns the parts of a method's comment; its list of errors is told by the responses."""
    text, *errors = _ERRORS.split(comment, maxsplit=1)
    first = _FIRST_SENTENCE.match(text)
    summary = " ".join((first[1] if first else text).split())
    return MethodComment(summary, markdown(text), _advice(errors[0] if errors else ""))


def reason_comment(comment: str) -> ReasonComment:
    """Returns the parts of a reason's comment."""
    text, _, sample = comment.partition("Sample:")
    metadata: dict[str, str] = json.loads(sample).get("metadata", {}) if sample else {}
    return ReasonComment(markdown(text), metadata)


def _advice(errors: str) -> dict[str, str]:
    """Returns what each reason of a list such as `- NOT_FOUND (JOB_NOT_FOUND): no such job` is explained with."""
    advice: dict[str, str] = {}
    for entry in re.split(r"^- ", errors, flags=re.MULTILINE)[1:]:
        named = list(_CODE_AND_REASONS.finditer(entry))
        if named:
            words = markdown(entry[named[-1].end() :].removeprefix(":").strip())
            words = words[:1].upper() + words[1:]
            advice |= {reason: words for each in named for reason in each[1].split(", ")}
    return advice


def _names(file: FileDescriptorProto) -> Iterator[tuple[_Path, str]]:
    """Yields the path of each element of a file with its full name."""
    for index, message in enumerate(file.message_type):
        yield from _names_of_message(message, (_FILE_MESSAGES, index), file.package)
    for index, enum in enumerate(file.enum_type):
        yield from _names_of_enum(enum, (_FILE_ENUMS, index), file.package)
    for index, service in enumerate(file.service):
        path, name = (_FILE_SERVICES, index), f"{file.package}.{service.name}"
        yield path, name
        for number, method in enumerate(service.method):
            yield (*path, _SERVICE_METHODS, number), f"{name}.{method.name}"


def _names_of_message(message: DescriptorProto, path: _Path, parent: str) -> Iterator[tuple[_Path, str]]:
    name = f"{parent}.{message.name}"
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELDS, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _names_of_message(nested, (*path, _MESSAGE_NESTED, index), name)
    for index, enum in enumerate(message.enum_type):
        yield from _names_of_enum(enum, (*path, _MESSAGE_ENUMS, index), name)


def _names_of_enum(enum: EnumDescriptorProto, path: _Path, parent: str) -> Iterator[tuple[_Path, str]]:
    name = f"{parent}.{enum.name}"
    yield path, name
    for index, value in enumerate(enum.value):
        # By the enum's own name, although protobuf's scope of a value is the enum's parent.
        yield (*path, _ENUM_VALUES, index), f"{name}.{value.name}"


def _dedented(comment: str) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()


def _unwrapped(block: str) -> str:
    """Returns a paragraph without its line breaks; an entry of a list begins a line."""
    return re.sub(r"\s*\n\s*(?!- )", " ", block.strip())


def _escaped(text: str) -> str:
    parts: list[Any] = text.split("`")
    return "`".join(part.replace("<", "\\<") if index % 2 == 0 else part for index, part in enumerate(parts))
