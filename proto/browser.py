"""Writes the descriptor set from which the browser's code is generated: the public contract without its options.

Rules, authorization and HTTP paths are the server's. In a page they would only weigh: their own definitions are larger
than all messages of the platform together.
"""

import sys
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto
from pingvas.common.v1 import authorization_pb2

ROOT: Final = Path(__file__).resolve().parent.parent
_OUTSIDE: Final = ("google/protobuf/", "google/rpc/error_details.proto", "google/rpc/status.proto")
_UNUSED: Final = ("google/protobuf/descriptor.proto", "pingvas/common/v1/authorization.proto")
_PUBLIC: Final = (authorization_pb2.AUDIENCE_ANONYMOUS, authorization_pb2.AUDIENCE_USER)


def browser_set(whole: FileDescriptorSet) -> FileDescriptorSet:
    """Returns the files that a browser needs, each without options."""
    needed = {file.name for file in whole.file if _is_needed(file)}
    # Those of administrators share messages with services that browsers don't reach. A file comes behind what it imports.
    for file in reversed(whole.file):
        if file.name in needed:
            needed.update(name for name in file.dependency if _may_be_needed(name))
    return FileDescriptorSet(file=[_plain(file, needed) for file in whole.file if file.name in needed])


def _is_needed(file: FileDescriptorProto) -> bool:
    return _may_be_needed(file.name) and (not file.service or any(map(_is_public, file.service)))


def _may_be_needed(name: str) -> bool:
    return name not in _UNUSED and name.startswith(("pingvas/", *_OUTSIDE))


def _is_public(service: ServiceDescriptorProto) -> bool:
    rules = (method.options.Extensions[authorization_pb2.authorization] for method in service.method)
    return any(rule.audience in _PUBLIC for rule in rules)


def _plain(file: FileDescriptorProto, needed: set[str]) -> FileDescriptorProto:
    plain = FileDescriptorProto.FromString(file.SerializeToString())
    kept = [name for name in plain.dependency if name in needed]
    del plain.dependency[:]
    plain.dependency.extend(kept)
    del plain.public_dependency[:]
    plain.ClearField("options")
    del plain.extension[:]
    public = [service for service in file.service if _is_public(service)]
    del plain.service[:]
    plain.service.extend(public)
    for service in plain.service:
        for method in service.method:
            method.ClearField("options")
    for message in plain.message_type:
        message.ClearField("options")
        for field in message.field:
            field.ClearField("options")
        for oneof in message.oneof_decl:
            oneof.ClearField("options")
    for enum in plain.enum_type:
        enum.ClearField("options")
        for value in enum.value:
            value.ClearField("options")
    return plain


if __name__ == "__main__":
    source = FileDescriptorSet.FromString((ROOT / "gen" / "pingvas" / "pingvas.binpb").read_bytes())
    Path(sys.argv[1]).write_bytes(browser_set(source).SerializeToString())
