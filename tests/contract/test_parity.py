"""Refusals of every method, told alike by Envoy's transcoder, by the bridge and by gRPC: status, body and headers."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NoReturn

import httpx
import pytest
import pytest_asyncio
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from tests.contract.surface import HttpForm, Rpc, public_rpcs
from tests.factories.messages import request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, json_refusal
from tests.harness_service import Identities

LONGEST = 4000
HEADERS = ("content-type", "cache-control", "retry-after", "allow")


def breach(field: FieldDescriptor) -> object:
    """Returns a value that breaks a field's rule, or None where it has no rule that one value breaks."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if field.is_repeated:
        return None
    if field.type == FieldDescriptor.TYPE_INT32 and rules.int32.HasField("lte"):
        return rules.int32.lte + 1
    if field.type == FieldDescriptor.TYPE_STRING and rules.string.uuid:
        return "nonsense"
    if field.type == FieldDescriptor.TYPE_STRING and 0 < rules.string.max_len < LONGEST:
        return "x" * (rules.string.max_len + 1)
    return None


def invalid_request(rpc: Rpc, form: HttpForm) -> Message | None:
    """Returns the sample request with its first rule broken, or None for a method without such a rule."""
    for field in rpc.descriptor.input_type.fields:
        value = breach(field)
        if value is not None:
            request = rpc.request_class()
            request.CopyFrom(request_for(str(rpc), form.body))  # the sample is everybody's
            setattr(request, field.name, value)
            return request
    return None


FORMS = [(rpc, form) for rpc in public_rpcs() if not rpc.streams for form in rpc.http_forms]
INVALID = [pair for pair in FORMS if invalid_request(*pair) is not None]


def named(pairs: list[tuple[Rpc, HttpForm]]) -> list[object]:
    return [pytest.param(rpc, form, id=f"{rpc}-{form.verb} {form.template}") for rpc, form in pairs]


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


@pytest_asyncio.fixture(scope="session")
async def bridge(bridge_port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bridge_port}", timeout=20.0) as client:
        yield client


async def refused_alike(
    rpc: Rpc, form: HttpForm, message: Message, bridge: httpx.AsyncClient, edge: Edge, caller: Metadata
) -> tuple[int, ServiceError]:
    """Makes a call both ways and by gRPC, compares the refusals, and returns HTTP status and refusal."""
    request = form.request(message)
    theirs = await edge.call_http(request, caller)
    ours = await bridge.request(
        request.verb, request.path, params=request.query, content=request.content, headers=dict(caller)
    )
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
    assert {name: ours.headers.get(name) for name in HEADERS} == {name: theirs.headers.get(name) for name in HEADERS}
    status, refusal = json_refusal(theirs)
    by_grpc = await edge.refusal_by_grpc(rpc, message, caller)
    assert (refusal.reason, refusal.message, refusal.metadata, refusal.violations, refusal.retry_after) == (
        *(by_grpc.reason, by_grpc.message, by_grpc.metadata, by_grpc.violations, by_grpc.retry_after),
    )
    return status, refusal


@pytest.mark.parametrize(("rpc", "form"), named(INVALID))
async def test_invalid_call_is_refused_alike_on_every_way(
    rpc: Rpc, form: HttpForm, bridge: httpx.AsyncClient, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    message = invalid_request(rpc, form)
    assert message is not None
    status, refusal = await refused_alike(rpc, form, message, bridge, edge, caller)
    assert (status, refusal.reason) == (400, Reason.INVALID_FIELD)
    assert refusal.violations
    assert platform.calls == []


@pytest.mark.parametrize(("rpc", "form"), named(FORMS))
@pytest.mark.parametrize(("reason", "status"), [(Reason.INSUFFICIENT_CREDITS, 402), (Reason.RATE_LIMITED, 429)])
async def test_refusal_of_a_service_is_told_alike_on_every_way(
    reason: Reason,
    status: int,
    rpc: Rpc,
    form: HttpForm,
    bridge: httpx.AsyncClient,
    edge: Edge,
    platform: PublicPlatform,
    caller: Metadata,
) -> None:
    async def refuse(_: Message) -> NoReturn:
        raise ServiceError(reason, "Says „why“.", metadata={"price": "2.000"}, retry_after=timedelta(seconds=1.5))

    platform.answers[str(rpc)] = refuse
    message = request_for(str(rpc), form.body)
    assert (await refused_alike(rpc, form, message, bridge, edge, caller))[0] == status


def test_few_methods_have_no_rule_that_a_call_could_break() -> None:
    untried = {str(rpc) for rpc, _ in FORMS} - {str(rpc) for rpc, _ in INVALID}
    assert len(untried) < len({str(rpc) for rpc, _ in FORMS}) / 3
