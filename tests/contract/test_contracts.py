"""The contracts keep the rules of the house that no linter knows."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pingvas.common.v1 import authorization_pb2, error_reason_pb2

from svc_common.errors import CODES, Code, Reason
from tests.contract.surface import DESCRIPTOR_SET, Rpc, all_rpcs, public_rpcs
from tests.harness_service import SERVICES

PROTO = DESCRIPTOR_SET.parents[1] / "proto" / "pingvas"
PROTO_FILES = sorted(PROTO.rglob("*.proto"))

# What makes a repeat of a call that moves credits recognisable: the hold's id is chosen by the caller.
CREDIT_MOVES = {
    "LedgerService.GrantCredits": "request_id",
    "LedgerService.ReserveCredits": "hold_id",
    "LedgerService.SettleCredits": "hold_id",
    "LedgerService.ReleaseCredits": "hold_id",
}
UNSIGNED = {
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
}


def fields_of(message: Descriptor) -> set[str]:
    return {field.name for field in message.fields}


def messages_of(rpc: Rpc) -> Iterator[Descriptor]:
    yield rpc.descriptor.input_type
    yield rpc.descriptor.output_type


def comment_lines() -> Iterator[str]:
    for file in PROTO_FILES:
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.strip().startswith("//"):
                yield line.strip().removeprefix("//").strip()


@pytest.mark.parametrize("rpc", all_rpcs(), ids=str)
def test_method_states_who_may_call_it(rpc: Rpc) -> None:
    assert rpc.rule.audience != authorization_pb2.AUDIENCE_UNSPECIFIED
    if rpc.rule.audience == authorization_pb2.AUDIENCE_SERVICE:
        assert rpc.rule.callers
        assert set(rpc.rule.callers) <= set(SERVICES)
    else:
        assert not rpc.rule.callers


def test_service_is_public_or_internal_as_a_whole() -> None:
    doors = {(rpc.descriptor.containing_service.full_name, rpc.is_public) for rpc in all_rpcs()}
    assert [service for service, count in Counter(service for service, _ in doors).items() if count > 1] == []


@pytest.mark.parametrize("rpc", all_rpcs(), ids=str)
def test_only_public_methods_have_http_paths(rpc: Rpc) -> None:
    assert bool(rpc.http_forms) == rpc.is_public
    assert all(form.template.startswith(("/api/v1/", "/.well-known/")) for form in rpc.http_forms)


def test_http_paths_lead_to_one_method_each() -> None:
    forms = Counter(
        (form.verb, re.sub(r"\{\w+\}", "{}", form.template)) for rpc in public_rpcs() for form in rpc.http_forms
    )
    assert [form for form, count in forms.items() if count > 1] == []


@pytest.mark.parametrize("rpc", [rpc for rpc in all_rpcs() if rpc.descriptor.name.startswith("Create")], ids=str)
def test_create_has_a_request_id(rpc: Rpc) -> None:
    assert "request_id" in fields_of(rpc.descriptor.input_type)


@pytest.mark.parametrize(("name", "field"), CREDIT_MOVES.items())
def test_call_that_moves_credits_can_be_recognised_when_repeated(name: str, field: str) -> None:
    (rpc,) = [rpc for rpc in all_rpcs() if str(rpc) == name]
    assert field in fields_of(rpc.descriptor.input_type)


def test_every_ledger_call_that_changes_credits_is_known_here() -> None:
    moves = {str(rpc) for rpc in all_rpcs() if rpc.descriptor.name.endswith("Credits")}
    # A batch is recognised by the ids of its items, which are requests of the single call.
    batches = {name for name in moves if name.split(".")[1].startswith("Batch")}
    assert moves - batches == set(CREDIT_MOVES)
    assert {name.replace("Batch", "") for name in batches} <= set(CREDIT_MOVES)


@pytest.mark.parametrize("rpc", [rpc for rpc in all_rpcs() if rpc.descriptor.name.startswith("List")], ids=str)
def test_list_has_pages(rpc: Rpc) -> None:
    assert {"page_size", "page_token"} <= fields_of(rpc.descriptor.input_type)
    assert "next_page_token" in fields_of(rpc.descriptor.output_type)


@pytest.mark.parametrize("rpc", all_rpcs(), ids=str)
def test_no_field_is_unsigned(rpc: Rpc) -> None:
    assert [field.full_name for message in messages_of(rpc) for field in message.fields if field.type in UNSIGNED] == []


def test_reasons_are_those_of_the_contract_and_each_has_a_code() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - no dict
    assert {reason.value for reason in Reason} == contract - {"UNSPECIFIED"}
    assert set(CODES) == set(Reason)


def test_code_of_each_reason_is_the_one_its_comment_names() -> None:
    text = (PROTO / "common" / "v1" / "error_reason.proto").read_text(encoding="utf-8")
    declared = re.findall(r"((?: *//.*\n)+) *ERROR_REASON_(\w+) = [1-9]", text)
    codes = {Reason(name): Code[comment.strip().removeprefix("// ").split(":")[0]] for comment, name in declared}
    assert codes == CODES


def test_errors_in_comments_name_real_reasons_with_their_codes() -> None:
    code = "|".join(code.name for code in Code)
    named = re.findall(rf"({code}) \(([A-Z_]+(?:, [A-Z_]+)*)\)", " ".join(comment_lines()))
    stated = {(Reason(reason), Code[code]) for code, reasons in named for reason in reasons.split(", ")}
    assert len(stated) >= 20
    assert stated <= set(CODES.items())


def test_four_lines_of_ten_are_comments() -> None:
    written = [line for file in PROTO_FILES for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(list(comment_lines())) / len(written) >= 0.4
