"""The rule that every text of a request can be stored: for each text of every request, as the descriptors have them."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from google.protobuf import field_mask_pb2, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from svc_common.caller import Call, enter_call
from svc_common.errors import Reason, ServiceError
from svc_common.idempotency import idempotency_key
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import describe_method
from svc_common.interceptors.text_rule import text_violations
from svc_common.interceptors.validation import Validation
from tests.contract.surface import MODULES

NUL = "a\0b"


def request_types() -> list[tuple[str, str, Descriptor]]:
    """Returns service, method and request of every method of the platform, public and internal."""
    return [
        (service.full_name, method.name, method.input_type)
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def with_nul(descriptor: Descriptor) -> Iterator[tuple[str, Message]]:
    """Yields a message for each text that messages of the type can hold, with a NUL in that one, and the path to it."""
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            message = GetMessageClass(descriptor)()
            if field.is_repeated:
                getattr(message, field.name).extend(["fine", NUL])
                yield f"{field.name}[1]", message
            else:
                setattr(message, field.name, NUL)
                yield field.name, message
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            kinds = {part.name: part.type for part in field.message_type.fields}
            assert set(kinds.values()) == {FieldDescriptor.TYPE_STRING}, "teach this test other maps"
            for key, value in ((NUL, "fine"), ("fine", NUL)):
                message = GetMessageClass(descriptor)()
                getattr(message, field.name)[key] = value
                yield f"{field.name}[{key!r}]", message
        elif field.message_type is not None:
            for path, inner in with_nul(field.message_type):
                message = GetMessageClass(descriptor)()
                if field.is_repeated:
                    getattr(message, field.name).add().CopyFrom(inner)
                    yield f"{field.name}[0].{path}", message
                else:
                    getattr(message, field.name).CopyFrom(inner)
                    yield f"{field.name}.{path}", message


CASES = [
    pytest.param(service, method, path, message, id=f"{service.rpartition('.')[2]}.{method}:{path}")
    for service, method, descriptor in request_types()
    for path, message in with_nul(descriptor)
]


_NOBODY = cast("Verifiers", None)


def test_the_table_covers_the_texts_that_are_known_to_be_stored() -> None:
    covered = {case.id for case in CASES}
    for known in (
        "GenerationService.CreateJob:request_id",
        "GenerationService.CreateJob:text_to_image.prompt",
        "GenerationService.CreateJob:text_to_image.loras[0].model_id",
        "ImportService.ImportImages:images[0].content_type",
    ):
        assert known in covered


@pytest.mark.parametrize(("service", "method", "path", "message"), CASES)
def test_every_text_of_every_request_with_a_nul_is_refused(
    service: str, method: str, path: str, message: Message
) -> None:
    (check,) = _checks(service, method)
    with pytest.raises(ServiceError) as refused:
        check(None, message)
    assert refused.value.reason is Reason.INVALID_FIELD
    named = [each.description for each in refused.value.violations if each.field == path]
    assert any("U+0000" in description and "remove it" in description for description in named)
    assert "\0" not in refused.value.message


def _checks(service: str, method: str) -> list[Any]:
    hooks = Validation(_NOBODY).bind(describe_method(service, method, is_stream=False))
    return [hooks.before]


@pytest.mark.parametrize(
    "text", ["", "plain", "\u0001\u001b\u007f", "\ufffe\uffff\U0010ffff", "e\u0301 \u200d 💡", "�"]
)
def test_every_other_character_passes(text: str) -> None:
    assert text_violations(struct_pb2.Value(string_value=text)) == []


def test_well_known_types_and_types_that_hold_themselves_are_looked_through() -> None:
    struct = struct_pb2.Struct()
    struct.update({"fine": {"deep": ["x", NUL]}, "k\0": 1})
    assert {each.field for each in text_violations(struct)} == {
        "fields['fine'].struct_value.fields['deep'].list_value.values[1].string_value",
        "fields['k\\x00']",
    }
    mask = field_mask_pb2.FieldMask(paths=["a", NUL])
    assert [each.field for each in text_violations(mask)] == ["paths[1]"]


def test_maps_with_text_in_keys_or_values_are_looked_through() -> None:
    file = FileDescriptorProto(name="tests/text_rule.proto", package="tests.text_rule", syntax="proto3")
    holder = file.message_type.add(name="Holder")
    entry = holder.nested_type.add(name="NamesEntry")
    entry.options.map_entry = True
    kinds = FieldDescriptorProto
    entry.field.add(name="key", number=1, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    holder.field.add(
        name="names",
        number=1,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_REPEATED,
        type_name=".tests.text_rule.Holder.NamesEntry",
    )
    Default().Add(file)
    message = GetMessageClass(Default().FindMessageTypeByName("tests.text_rule.Holder"))()
    message.names[7] = NUL
    message.names[8] = "fine"
    assert [each.field for each in text_violations(message)] == ["names[7]"]


def test_idempotency_key_in_a_header_is_held_to_the_same_rule() -> None:
    enter_call(Call("/x/Y", {"idempotency-key": NUL}, started=0.0))
    with pytest.raises(ServiceError) as refused:
        idempotency_key("")
    assert [each.field for each in refused.value.violations] == ["idempotency-key"]
