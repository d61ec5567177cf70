"""What every layer does at a call with a stream of responses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from svc_common.caller import current_account, remaining_seconds
from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from svc_common.server import Server
from svc_common.settings import ServiceSettings
from tests.factories.contracts import USER, Contract, stream, stream_call
from tests.harness_postgres import UNREACHABLE_DATABASE
from tests.harness_service import Identities, RunningService, refusal_of, running, settings_values

CONTRACT = Contract("streams", {"Watch": USER})
NOTHING = StringValue()


@asynccontextmanager
async def watch_service(identities: Identities, handler: Any, **parts: Any) -> AsyncIterator[RunningService]:
    settings = ServiceSettings(**settings_values(identities, "svc_user", UNREACHABLE_DATABASE))
    registration = (lambda servicer, server: CONTRACT.add_to_server({"Watch": stream(servicer)}, server), handler)
    async with running(Server(settings, "svc_user", public=[registration], **parts)) as service:
        yield service


def watch(service: RunningService, identities: Identities, **options: Any) -> Any:
    call = stream_call(service.public, CONTRACT.path("Watch"))
    return call(NOTHING, metadata=identities.as_user(new_id()), **options)


async def test_responses_arrive_one_by_one(identities: Identities) -> None:
    more = asyncio.Event()

    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value=str(current_account()))
        await more.wait()
        yield StringValue(value="end")

    account = new_id()
    async with watch_service(identities, handler) as service:
        call = stream_call(service.public, CONTRACT.path("Watch"))(NOTHING, metadata=identities.as_user(account))
        first = await call.read()
        more.set()
        second = await call.read()
        end = await call.read()

    assert (first.value, second.value) == (str(account), "end")
    assert end is grpc.aio.EOF


async def test_stream_without_credential_is_unauthenticated(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield NOTHING

    async with watch_service(identities, handler) as service:
        refusal = await refusal_of(stream_call(service.public, CONTRACT.path("Watch"))(NOTHING).read())

    assert refusal.reason is Reason.CREDENTIALS_MISSING


async def test_refusal_after_a_response_arrives(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield NOTHING
        raise ServiceError(Reason.JOB_NOT_FOUND, "No such job.", metadata={"job_id": "x"})

    async with watch_service(identities, handler) as service:
        call = watch(service, identities)
        await call.read()
        refusal = await refusal_of(call.read())

    assert (refusal.reason, refusal.metadata) == (Reason.JOB_NOT_FOUND, {"job_id": "x"})


async def test_unknown_exception_in_a_stream_is_internal(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield NOTHING
        raise RuntimeError("secret")

    async with watch_service(identities, handler) as service:
        call = watch(service, identities)
        await call.read()
        refusal = await refusal_of(call.read())

    assert refusal.reason is Reason.INTERNAL
    assert "secret" not in refusal.message


@pytest.mark.parametrize("waits_for", ["its own event", "the reader"])
async def test_watcher_that_leaves_ends_the_handler(identities: Identities, waits_for: str) -> None:
    ended = asyncio.Event()

    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        try:
            yield NOTHING
            if waits_for == "its own event":
                await asyncio.Event().wait()
            while True:
                yield StringValue(value="x" * 100_000)
        finally:
            ended.set()

    async with watch_service(identities, handler) as service:
        call = watch(service, identities)
        await call.read()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 5)


async def test_stream_has_no_deadline_but_that_of_its_caller(identities: Identities) -> None:
    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value=str(remaining_seconds()))

    async with watch_service(identities, handler) as service:
        endless = await watch(service, identities).read()
        bounded = await watch(service, identities, timeout=30).read()

    assert endless.value == "None"
    # gRPC rounds a deadline up on the wire, by up to a hundredth.
    assert 29 < float(bounded.value) < 31


async def test_drain_lets_a_stream_end_with_a_last_word(identities: Identities) -> None:
    draining = asyncio.Event()

    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield NOTHING
        await draining.wait()
        yield StringValue(value="reconnect")

    async def drain() -> None:
        draining.set()

    async with watch_service(identities, handler, on_drain=[drain]) as service:
        call = watch(service, identities)
        await call.read()
        stopping = asyncio.create_task(service.server.stop())
        last = await call.read()
        end = await call.read()
        await stopping

    assert last.value == "reconnect"
    assert end is grpc.aio.EOF
