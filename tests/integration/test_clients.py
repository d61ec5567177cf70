"""How one service calls another: credential, deadline, request id, and errors on the way back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from svc_common.caller import Call, current_caller, enter_call, remaining_seconds, request_id
from svc_common.clients import CallError, ServiceChannel, channel
from svc_common.clock import new_id
from svc_common.errors import FieldViolation, Reason, ServiceError
from svc_common.server import Server
from svc_common.settings import ServiceSettings
from tests.factories.contracts import ANONYMOUS, Contract, for_services, stream, stream_call, unary, unary_call
from tests.harness_postgres import UNREACHABLE_DATABASE, until
from tests.harness_service import Identities, RunningService, refusal_of, running, settings_values

BACK = Contract("back", {"Ask": for_services("svc_gallery"), "Watch": for_services("svc_gallery")})
FRONT = Contract("front", {"Ask": ANONYMOUS})


def settings(identities: Identities, name: str, **own: Any) -> ServiceSettings:
    return ServiceSettings(**settings_values(identities, name, UNREACHABLE_DATABASE, **own))


@asynccontextmanager
async def back_service(identities: Identities, *, ask: Any = None, watch: Any = None) -> AsyncIterator[RunningService]:
    handlers = {"Ask": unary(ask)} if ask else {"Watch": stream(watch)}
    registration = (lambda _, server: BACK.add_to_server(handlers, server), None)
    async with running(Server(settings(identities, "svc_models"), "svc_models", internal=[registration])) as service:
        yield service


def back_channel(identities: Identities, service: RunningService, name: str = "svc_gallery") -> ServiceChannel:
    return channel(service.internal_address, identities.credential(name))


async def ask(to: ServiceChannel, **options: Any) -> str:
    answer = await unary_call(to, BACK.path("Ask"))(StringValue(), **options)
    return str(answer.value)


async def test_called_service_knows_its_caller(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=current_caller().service or "")

    async with back_service(identities, ask=handler) as service, back_channel(identities, service) as to:
        assert await ask(to) == "svc_gallery"


async def test_error_of_the_called_service_arrives_as_it_was_raised(identities: Identities) -> None:
    sent = ServiceError(
        Reason.INSUFFICIENT_CREDITS,
        "Buy some.",
        metadata={"price": "2.000"},
        retry_after=timedelta(seconds=1),
        violations=[FieldViolation("a", "b")],
    )

    async def handler(request: StringValue, context: Any) -> StringValue:
        raise sent

    async with back_service(identities, ask=handler) as service, back_channel(identities, service) as to:
        with pytest.raises(ServiceError) as caught:
            await ask(to)

    got = caught.value
    assert (got.reason, got.message, got.metadata) == (sent.reason, sent.message, sent.metadata)
    assert (got.retry_after, got.violations) == (sent.retry_after, sent.violations)
    assert got.__notes__ == [f"while calling {BACK.path('Ask')}"]


async def test_service_that_is_not_there_is_an_unavailable_dependency(identities: Identities) -> None:
    async with channel("127.0.0.1:1", identities.credential("svc_gallery")) as to:
        with pytest.raises(ServiceError) as caught:
            await unary_call(to, "/pingvas.payment.v1.LedgerService/GetHold")(StringValue())

    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert caught.value.metadata == {"dependency": "svc_payment"}


async def test_service_that_stops_before_it_answers_is_an_unavailable_dependency(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        await context.abort(grpc.StatusCode.CANCELLED)
        return request

    async with back_service(identities, ask=handler) as service, back_channel(identities, service) as to:
        with pytest.raises(ServiceError) as caught:
            await ask(to)

    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE


async def test_restarted_service_is_found_again(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value="here")

    async with back_service(identities, ask=handler) as service:
        port = service.server.internal_port
        to = back_channel(identities, service)
        assert await ask(to) == "here"
    with pytest.raises(ServiceError):
        await ask(to)

    registration = (lambda _, server: BACK.add_to_server({"Ask": unary(handler)}, server), None)
    again = settings(identities, "svc_models", internal_address=f"127.0.0.1:{port}")
    async with running(Server(again, "svc_models", internal=[registration])):

        async def answers() -> bool:
            try:
                return await ask(to) == "here"
            except ServiceError:
                return False

        await until(answers)
    await to.close()


async def test_refused_credential_is_a_fault_and_no_refusal_of_the_user(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue()

    async with back_service(identities, ask=handler) as service, back_channel(identities, service, "gpu_worker") as to:
        with pytest.raises(CallError, match="PERMISSION_DENIED"):
            await ask(to)


async def test_own_timeout_ends_a_call(identities: Identities) -> None:
    ended = asyncio.Event()

    async def handler(request: StringValue, context: Any) -> StringValue:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return request

    async with back_service(identities, ask=handler) as service, back_channel(identities, service) as to:
        with pytest.raises(ServiceError) as caught:
            await ask(to, timeout=0.2)
        await asyncio.wait_for(ended.wait(), 5)

    assert caught.value.reason is Reason.DEADLINE_TOO_SHORT


async def test_stream_of_the_called_service_arrives_and_ends(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="one")
        yield StringValue(value="two")
        raise ServiceError(Reason.JOB_NOT_FOUND, "gone")

    async with back_service(identities, watch=handler) as service, back_channel(identities, service) as to:
        responses = stream_call(to, BACK.path("Watch"))(StringValue())
        seen = [(await anext(responses)).value, (await anext(responses)).value]
        with pytest.raises(ServiceError) as caught:
            await anext(responses)

    assert seen == ["one", "two"]
    assert caught.value.reason is Reason.JOB_NOT_FOUND


async def test_leaving_a_stream_ends_it_at_the_called_service(identities: Identities) -> None:
    ended = asyncio.Event()

    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        try:
            while True:
                yield StringValue()
                await asyncio.Event().wait()
        finally:
            ended.set()

    async with back_service(identities, watch=handler) as service, back_channel(identities, service) as to:
        responses = stream_call(to, BACK.path("Watch"))(StringValue())
        async for _ in responses:
            break
        await responses.aclose()
        await asyncio.wait_for(ended.wait(), 5)


@asynccontextmanager
async def two_services(identities: Identities, back_handler: Any) -> AsyncIterator[RunningService]:
    """A front that passes every call on to a back."""
    async with back_service(identities, ask=back_handler) as back, back_channel(identities, back) as to:

        async def pass_on(request: StringValue, context: Any) -> StringValue:
            return StringValue(value=await ask(to))

        registration = (lambda _, server: FRONT.add_to_server({"Ask": unary(pass_on)}, server), None)
        server = Server(settings(identities, "svc_gallery"), "svc_gallery", public=[registration])
        async with running(server) as front:
            yield front


async def test_request_id_and_shortened_deadline_are_passed_on(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=f"{request_id()} {remaining_seconds()}")

    async with two_services(identities, handler) as front:
        call = unary_call(front.public, FRONT.path("Ask"))
        answer = await call(StringValue(), metadata=(("x-request-id", "abc-12345678"),), timeout=3)

    passed_id, remaining = answer.value.split()
    assert passed_id == "abc-12345678"
    assert 2 < float(remaining) < 3


async def test_error_passes_through_a_service_that_does_not_handle_it(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        raise ServiceError(Reason.QUEUE_FULL, "Wait.", metadata={"limit": "5"}, retry_after=timedelta(seconds=2))

    async with two_services(identities, handler) as front:
        refusal = await refusal_of(unary_call(front.public, FRONT.path("Ask"))(StringValue()))

    assert (refusal.reason, refusal.metadata) == (Reason.QUEUE_FULL, {"limit": "5"})
    assert refusal.retry_after == timedelta(seconds=2)


async def test_call_that_could_not_answer_in_time_is_not_made(identities: Identities) -> None:
    reached: list[str] = []

    async def handler(request: StringValue, context: Any) -> StringValue:
        reached.append("back")
        return request

    async with back_service(identities, ask=handler) as service, back_channel(identities, service) as to:

        async def within_a_call_that_is_nearly_over() -> str:
            call = Call("/a/method", {}, started=0.0)
            call.deadline = asyncio.get_running_loop().time() + 0.04
            enter_call(call)
            return await ask(to)

        with pytest.raises(ServiceError) as caught:
            await asyncio.create_task(within_a_call_that_is_nearly_over())

    assert caught.value.reason is Reason.DEADLINE_TOO_SHORT
    assert reached == []


async def test_unknown_method_is_a_fault(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return request

    async with back_service(identities, ask=handler) as service, back_channel(identities, service) as to:
        with pytest.raises(CallError, match=grpc.StatusCode.UNIMPLEMENTED.name):
            await unary_call(to, BACK.path(f"Missing{new_id().hex}"))(StringValue())
