"""The contracts keep the rules of the house that no linter knows."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pingvas.common.v1 import authorization_pb2, error_reason_pb2, scope_pb2, tier_pb2
from pingvas.generation.v1 import job_pb2
from pingvas.models.v1 import model_pb2
from pingvas.vocabulary import Operation, Tier

from svc_common.errors import CODES, Code, Reason
from svc_common.registry import CALLERS
from tests.contract.surface import Rpc, all_rpcs, public_rpcs

PROTO = Path(__file__).resolve().parents[2] / "proto" / "pingvas"
PROTO_FILES = sorted(PROTO.rglob("*.proto"))

# What makes a repeat of a call that moves credits recognisable: the hold's id is chosen by the caller.
CREDIT_MOVES = {
    "LedgerService.GrantCredits": "request_id",
    "PaymentAdminService.GrantCredits": "request_id",
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
        assert set(rpc.rule.callers) <= set(CALLERS)
    else:
        assert not rpc.rule.callers


@pytest.mark.parametrize("rpc", list(all_rpcs()), ids=str)
def test_api_keys_reach_no_credentials_and_no_billing(rpc: Rpc) -> None:
    rule = rpc.descriptor.GetOptions().Extensions[authorization_pb2.authorization]
    service = rpc.descriptor.containing_service
    if service.name in ("AuthService", "ApiKeyService") or rule.audience != authorization_pb2.AUDIENCE_USER:
        assert rule.scope == scope_pb2.SCOPE_UNSPECIFIED
    if service.full_name.startswith("pingvas.payment."):
        assert rule.scope in (scope_pb2.SCOPE_UNSPECIFIED, scope_pb2.SCOPE_READ)


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


def test_reasons_and_codes_are_those_of_the_contract() -> None:
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values[1:]
    codes = {
        value.name.removeprefix("ERROR_REASON_"): value.GetOptions().Extensions[error_reason_pb2.code]
        for value in values
    }
    assert codes == {reason.value: code.value for reason, code in CODES.items()}
    assert all(code > Code.OK for code in codes.values())
    assert set(CODES) == set(Reason)


def test_tiers_and_operations_are_those_of_the_contract() -> None:
    assert {f"TIER_{tier.name}": tier.value for tier in Tier} == dict(tier_pb2.Tier.items()[1:])
    operations = [f"OPERATION_{operation.name}" for operation in Operation]
    assert operations == list(model_pb2.Operation.keys())[1:]
    branches = job_pb2.Job.DESCRIPTOR.oneofs_by_name["operation"].fields
    assert {field.name for field in branches} == set(Operation)


def test_errors_in_comments_name_real_reasons_with_their_codes() -> None:
    code = "|".join(code.name for code in Code)
    named = re.findall(rf"({code}) \(([A-Z_]+(?:, [A-Z_]+)*)\)", " ".join(comment_lines()))
    stated = {(Reason(reason), Code[code]) for code, reasons in named for reason in reasons.split(", ")}
    assert len(stated) >= 20
    assert stated <= set(CODES.items())


def test_four_lines_of_ten_are_comments() -> None:
    written = [line for file in PROTO_FILES for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(list(comment_lines())) / len(written) >= 0.4


def test_every_list_of_a_request_states_how_long_it_may_be() -> None:
    """Or a request of four megabytes could hold a million items, each of which would be looked at."""
    unstated = [
        field.full_name
        for rpc in all_rpcs()
        for field in _fields_of(rpc.request_class.DESCRIPTOR, frozenset())
        if field.is_repeated
        and not field.full_name.startswith("google.protobuf.")  # a general limit holds for theirs
        and not ((rules := field.GetOptions().Extensions[validate_pb2.field]).repeated.max_items or rules.map.max_pairs)
    ]
    assert unstated == []


def _fields_of(descriptor: Descriptor, passed: frozenset[str]) -> Iterator[FieldDescriptor]:
    """Yields the fields of a message and of those within it."""
    for field in descriptor.fields:
        yield field
        inner = field.message_type
        if inner is not None and inner.full_name not in passed:
            yield from _fields_of(inner, passed | {inner.full_name})
