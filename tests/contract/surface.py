"""Owns what the tests know of the contracts, read straight from the descriptor set: every method, its rule and its HTTP forms.

It is written apart from `svc_common.contracts`, which the tests check with it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from pingvas.common.v1 import authorization_pb2
from pingvas.gallery.v1 import (
    board_service_pb2,
    export_service_pb2,
    gallery_data_service_pb2,
    gallery_erasure_service_pb2,
    gallery_service_pb2,
    import_service_pb2,
    library_service_pb2,
    lineage_service_pb2,
    preset_service_pb2,
    sharing_service_pb2,
    source_service_pb2,
    storage_service_pb2,
    template_service_pb2,
)
from pingvas.generation.v1 import (
    account_event_service_pb2,
    generation_admin_service_pb2,
    generation_service_pb2,
    job_data_service_pb2,
    job_erasure_service_pb2,
    model_use_service_pb2,
    operator_service_pb2,
    recipe_service_pb2,
    usage_service_pb2,
    webhook_endpoint_service_pb2,
)
from pingvas.models.v1 import (
    catalogue_service_pb2,
    lora_data_service_pb2,
    lora_erasure_service_pb2,
    lora_service_pb2,
    model_service_pb2,
)
from pingvas.payment.v1 import (
    credit_service_pb2,
    enterprise_service_pb2,
    ledger_service_pb2,
    payment_admin_service_pb2,
    payment_data_service_pb2,
    subscription_service_pb2,
    webhook_service_pb2,
)
from pingvas.user.v1 import (
    account_admin_service_pb2,
    account_export_service_pb2,
    account_notice_service_pb2,
    api_key_service_pb2,
    audit_service_pb2,
    auth_service_pb2,
    deletion_service_pb2,
    email_service_pb2,
    identity_service_pb2,
    second_factor_service_pb2,
    user_directory_service_pb2,
    user_service_pb2,
)
from pingvas.worker.v1 import worker_service_pb2

from svc_common.contracts import DESCRIPTOR_SET

# Importing them puts their descriptors into the pool.
MODULES = (
    account_admin_service_pb2,
    account_event_service_pb2,
    account_export_service_pb2,
    account_notice_service_pb2,
    api_key_service_pb2,
    audit_service_pb2,
    auth_service_pb2,
    board_service_pb2,
    catalogue_service_pb2,
    credit_service_pb2,
    export_service_pb2,
    deletion_service_pb2,
    email_service_pb2,
    enterprise_service_pb2,
    gallery_data_service_pb2,
    gallery_erasure_service_pb2,
    gallery_service_pb2,
    sharing_service_pb2,
    generation_admin_service_pb2,
    generation_service_pb2,
    identity_service_pb2,
    import_service_pb2,
    job_data_service_pb2,
    job_erasure_service_pb2,
    model_use_service_pb2,
    operator_service_pb2,
    ledger_service_pb2,
    library_service_pb2,
    lineage_service_pb2,
    lora_data_service_pb2,
    lora_erasure_service_pb2,
    lora_service_pb2,
    model_service_pb2,
    operator_service_pb2,
    payment_admin_service_pb2,
    payment_data_service_pb2,
    preset_service_pb2,
    recipe_service_pb2,
    second_factor_service_pb2,
    source_service_pb2,
    storage_service_pb2,
    subscription_service_pb2,
    template_service_pb2,
    usage_service_pb2,
    user_directory_service_pb2,
    user_service_pb2,
    webhook_endpoint_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)

_VARIABLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class HttpForm:
    """One HTTP form of a method; `body` is a field's name, `*` or empty."""

    verb: str
    template: str
    body: str

    def request(self, message: Message) -> "HttpRequest":
        """Returns the request that says the same as a message."""
        fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
        path = _VARIABLE.sub(lambda variable: quote(str(fields.pop(variable[1])), safe=""), self.template)
        if self.body == "*":
            return HttpRequest(self.verb, path, {}, json.dumps(fields).encode())
        content = json.dumps(fields.pop(self.body)).encode() if self.body else b""
        return HttpRequest(self.verb, path, dict(_parameters(fields)), content)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request, without its headers."""

    verb: str
    path: str
    query: dict[str, Any]
    content: bytes


@dataclass(frozen=True, slots=True)
class Rpc:
    """A method of a contract."""

    descriptor: MethodDescriptor

    def __str__(self) -> str:
        """Returns the name that the test's id shows."""
        return f"{self.descriptor.containing_service.name}.{self.descriptor.name}"

    @property
    def path(self) -> str:
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def area(self) -> str:
        return self.descriptor.containing_service.file.package.split(".")[1]

    @property
    def rule(self) -> authorization_pb2.Authorization:
        return self.descriptor.GetOptions().Extensions[authorization_pb2.authorization]

    @property
    def is_public(self) -> bool:
        return self.rule.audience in {authorization_pb2.AUDIENCE_ANONYMOUS, authorization_pb2.AUDIENCE_USER}

    @property
    def is_anonymous(self) -> bool:
        return self.rule.audience == authorization_pb2.AUDIENCE_ANONYMOUS

    @property
    def streams(self) -> bool:
        return bool(self.descriptor.server_streaming)

    @property
    def request_class(self) -> type[Message]:
        return message_factory.GetMessageClass(self.descriptor.input_type)

    @property
    def response_class(self) -> type[Message]:
        return message_factory.GetMessageClass(self.descriptor.output_type)

    @property
    def http_forms(self) -> tuple[HttpForm, ...]:
        return tuple(_forms(self.descriptor.GetOptions().Extensions[annotations_pb2.http]))


@cache
def all_rpcs() -> tuple[Rpc, ...]:
    """Returns every method of every service in the descriptor set."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes()).file
    pool = descriptor_pool.Default()
    services = [f"{file.package}.{service.name}" for file in files for service in file.service]
    return tuple(Rpc(method) for name in services for method in pool.FindServiceByName(name).methods)


def public_rpcs() -> tuple[Rpc, ...]:
    """Returns the methods for people and their programs."""
    return tuple(rpc for rpc in all_rpcs() if rpc.is_public)


def internal_rpcs() -> tuple[Rpc, ...]:
    """Returns the methods for other parts of the platform."""
    return tuple(rpc for rpc in all_rpcs() if not rpc.is_public)


def rpc_named(name: str) -> Rpc:
    """Returns the method named `Service.Method`."""
    return next(rpc for rpc in all_rpcs() if str(rpc) == name)


def _parameters(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields fields as query parameters; those of a message are named by their path."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _parameters(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _forms(rule: http_pb2.HttpRule) -> Iterator[HttpForm]:
    verb = rule.WhichOneof("pattern")
    if verb:
        yield HttpForm(verb.upper(), getattr(rule, verb), rule.body)
    for additional in rule.additional_bindings:
        yield from _forms(additional)
