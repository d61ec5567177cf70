"""What the contracts say about the edge: which methods are public, who may call them, and by which HTTP paths.

Read from the descriptor set that the contracts are compiled to, so that a method becomes reachable by being declared
and in no other way. Envoy's configuration and the HTTP bridge are both built from it; their own vocabularies are left to them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto
from pingvas import vocabulary
from pingvas.common.v1 import authorization_pb2

from svc_common.registry import AREAS, service_of
from svc_common.scopes import role_named, scope_name

# Beside the generated code, wherever that is: in a checkout, in an image, in an installed package.
DESCRIPTOR_SET: Final = Path(vocabulary.__file__).with_name("pingvas.binpb")
OPENAPI_DOCUMENT: Final = DESCRIPTOR_SET.with_name("openapi.json")

_PACKAGE: Final = re.compile(r"pingvas\.(?P<area>\w+)\.v1")
_VERBS: Final = ("get", "put", "post", "delete", "patch")
_VARIABLE: Final = re.compile(r"\{\w+\}")
_VARIABLE_NAME: Final = re.compile(r"\{(\w+)\}")
_PUBLIC: Final[tuple[int, ...]] = (authorization_pb2.AUDIENCE_ANONYMOUS, authorization_pb2.AUDIENCE_USER)


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """One HTTP form of a method, such as `GET /api/v1/jobs/{job_id}`.

    `body` is what the HTTP body stands for: `*` the whole request, a name that field of it, and empty nothing.
    """

    verb: str
    template: str
    # The field that the body holds, `*` for the whole request, or empty for no body.
    body: str = ""
    # The field that is answered, or empty for the whole response.
    response_body: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The fields that the path holds, in the order of their places."""
        return tuple(_VARIABLE_NAME.findall(self.template))

    @property
    def pattern(self) -> str:
        """The template as an RE2 expression for whole paths. Raises ValueError for a variable of several segments."""
        literals = _VARIABLE.split(self.template)
        if any(character in literal for literal in literals for character in "{}*"):
            raise ValueError(f"{self.template} has a variable of several segments, for which the edge has no rule")
        return "[^/]+".join(re.escape(literal) for literal in literals)


@dataclass(frozen=True, slots=True)
class PublicMethod:
    """A method that people and their programs may call through the edge."""

    service: str
    name: str
    area: str
    anonymous: bool
    streams: bool
    bindings: tuple[HttpBinding, ...]
    request: str
    response: str
    scope: str = ""
    """What an API key needs to call it; empty: no key may."""
    role: str = ""
    """What a person needs to call it; empty: everybody who is logged in may."""

    @property
    def path(self) -> str:
        """The path of its gRPC form."""
        return f"/{self.service}/{self.name}"

    @property
    def reads_only(self) -> bool:
        """Whether the contract promises that calling it changes nothing: it is published under GET."""
        return bool(self.bindings) and all(binding.verb == "GET" for binding in self.bindings)


def public_methods(descriptor_set: bytes) -> tuple[PublicMethod, ...]:
    """Returns every public method of a serialised FileDescriptorSet, in the order of declaration.

    Raises ValueError when a service mixes public and internal methods: a service is registered on one listener as a
    whole.
    """
    files = FileDescriptorSet.FromString(descriptor_set).file
    return tuple(method for file in files for method in _methods_of_file(file))


def internal_callers(descriptor_set: bytes) -> Mapping[str, frozenset[str]]:
    """Returns for each area of a serialised FileDescriptorSet the services that may call an internal method of it."""
    callers: dict[str, frozenset[str]] = {}
    for file in FileDescriptorSet.FromString(descriptor_set).file:
        if package := _PACKAGE.fullmatch(file.package):
            methods = (method for service in file.service for method in service.method)
            names = {name for method in methods for name in _authorization(method).callers}
            callers[package["area"]] = callers.get(package["area"], frozenset()) | names
    return {area: names for area, names in callers.items() if names}


def neighbours_of(descriptor_set: bytes, caller: str) -> tuple[str, ...]:
    """Returns the areas of the services of which some internal method may be called by `caller`, such as svc_gallery."""
    called = {service_of(area).area for area, names in internal_callers(descriptor_set).items() if caller in names}
    return tuple(area for area in AREAS if area in called)


def _methods_of_file(file: FileDescriptorProto) -> Iterator[PublicMethod]:
    package = _PACKAGE.fullmatch(file.package)
    if package is None:
        return
    for service in file.service:
        full_name = f"{file.package}.{service.name}"
        public = [method for method in service.method if _audience(method) in _PUBLIC]
        if public and len(public) != len(service.method):
            raise ValueError(
                f"{full_name} has public and internal methods; move the internal ones to a service of their own"
            )
        yield from (_public_method(full_name, package["area"], method) for method in public)


def _public_method(service: str, area: str, method: MethodDescriptorProto) -> PublicMethod:
    rule = method.options.Extensions[authorization_pb2.authorization]
    return PublicMethod(
        service=service,
        name=method.name,
        area=area,
        anonymous=_audience(method) == authorization_pb2.AUDIENCE_ANONYMOUS,
        streams=method.server_streaming,
        bindings=tuple(_bindings(method.options.Extensions[annotations_pb2.http])),
        request=method.input_type.removeprefix("."),
        response=method.output_type.removeprefix("."),
        scope=scope_name(rule.scope),
        role=role_named(rule.role).value if rule.role else "",
    )


def _audience(method: MethodDescriptorProto) -> int:
    return _authorization(method).audience


def _authorization(method: MethodDescriptorProto) -> authorization_pb2.Authorization:
    return method.options.Extensions[authorization_pb2.authorization]


def _bindings(rule: http_pb2.HttpRule) -> Iterator[HttpBinding]:
    verb = rule.WhichOneof("pattern")
    if verb in _VERBS:
        yield HttpBinding(verb.upper(), getattr(rule, verb), rule.body, rule.response_body)
    for additional in rule.additional_bindings:
        yield from _bindings(additional)
