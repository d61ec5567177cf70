"""Calls over one channel: who calls, how long, what is repeated, and streams that resume."""

import asyncio
import platform
import random
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message
from pingvas.generation.v1.generation_service_pb2 import WatchJobRequest
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_event_pb2 import JobEvent
from pingvas.user.v1.auth_service_pb2 import RefreshRequest, TokenPair
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub

from pingvas_sdk.address import Address
from pingvas_sdk.credentials import Credentials
from pingvas_sdk.errors import RefusedError, UnreachableError, error_of, is_repeatable, wants_another_token

CALL_SECONDS: Final = 30.0
_PAUSES_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
# A refusal that asks for more patience than this is the caller's to handle.
_MOST_PATIENCE_SECONDS: Final = 10.0
# The platform sends a heartbeat when nothing else was sent for 15 s, so a stream that is silent for longer is dead.
_SILENCE_SECONDS: Final = 45.0
# How long a stream is opened again and again before it is given up.
_AWAY_SECONDS: Final = 60.0
# A little more than a picture's preview needs; whole pictures never travel this way.
_LARGEST_MESSAGE: Final = 4 * 1024 * 1024
_TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
_REQUEST_ID: Final = "request_id"

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer")


class Connection:
    """A channel to a deployment. It must be made and used within one event loop; it connects when it is first used."""

    def __init__(
        self, address: Address, credentials: Credentials | None, *, root_certificates: bytes | None, user_agent: str
    ) -> None:
        """Takes where the deployment is and who calls; without credentials, only what is open to everybody works."""
        self.address = address
        self._credentials = credentials
        options = [
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.primary_user_agent", f"{user_agent} ({platform.system()})"),
        ]
        if address.is_secure:
            tls = grpc.ssl_channel_credentials(root_certificates)
            self.channel = grpc.aio.secure_channel(address.target, tls, options)
        else:
            self.channel = grpc.aio.insecure_channel(address.target, options)

    async def close(self) -> None:
        """Closes the channel; calls that are still running end."""
        await self.channel.close()

    async def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Message,
        *,
        seconds: float = CALL_SECONDS,
        is_anonymous: bool = False,
    ) -> Answer:
        """Calls a method of a stub, and again while that may help; returns the answer.

        A request that has a `request_id` and none in it is given one, so that a lost answer costs a repeat and never a
        second thing. Raises RefusedError and UnreachableError.
        """
        _identify(request)
        has_renewed = False
        pauses = iter(_PAUSES_SECONDS)
        while True:
            token = "" if is_anonymous or self._credentials is None else await self._credentials.token(self.refresh)
            try:
                return await method(request, timeout=seconds, metadata=_metadata(token))
            except grpc.aio.AioRpcError as raised:
                error = error_of(raised, self.address.text)
                if token and wants_another_token(error) and not has_renewed:
                    has_renewed = True
                    if await self._renew(token):
                        continue
                pause = _pause(error, next(pauses, None))
                if pause is None:
                    raise error from raised
            await asyncio.sleep(pause)

    async def watch(self, job_id: str, *, after: str = "") -> AsyncGenerator[JobEvent, None]:
        """Yields the events of a job up to its terminal one, from the first after `after`.

        A stream that is cut is taken up again behind the last event seen. Heartbeats aren't yielded. Raises RefusedError
        and, when the deployment is away for a minute, UnreachableError.
        """
        stub = GenerationServiceStub(self.channel)
        last_heard = time.monotonic()
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            token = "" if self._credentials is None else await self._credentials.token(self.refresh)
            stream = stub.WatchJob(WatchJobRequest(job_id=job_id, after=after), metadata=_metadata(token))
            try:
                while (event := await _read(stream)) is not None:
                    last_heard = time.monotonic()
                    after = event.event_id or after
                    if event.WhichOneof("detail") == "heartbeat":
                        continue
                    yield event
                    if event.WhichOneof("detail") in _TERMINAL:
                        return
            except TimeoutError:
                # Whatever carried it is gone without a word.
                pass
            except grpc.aio.AioRpcError as raised:
                error = error_of(raised, self.address.text)
                is_away = time.monotonic() - last_heard > _AWAY_SECONDS
                # A stream that ends without a word of the platform was cut, by whatever code: reading is safe to repeat.
                is_cut = isinstance(error, UnreachableError) or is_repeatable(error)
                is_renewed = wants_another_token(error) and await self._renew(token)
                if is_away or not (is_cut or is_renewed):
                    raise error from raised
            finally:
                stream.cancel()
            pause = _PAUSES_SECONDS[0]

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchanges a refresh token; raises AuthenticationError when the session is over."""
        method = AuthServiceStub(self.channel).Refresh
        try:
            return await method(RefreshRequest(refresh_token=refresh_token), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as raised:
            raise error_of(raised, self.address.text) from raised

    async def _renew(self, refused: str) -> bool:
        return self._credentials is not None and await self._credentials.renew(refused, self.refresh)


async def _read(stream: grpc.aio.UnaryStreamCall[WatchJobRequest, JobEvent]) -> JobEvent | None:
    """Returns the next event, or None at the stream's end; raises TimeoutError when nothing comes."""
    async with asyncio.timeout(_SILENCE_SECONDS):
        event = await stream.read()
    return event if isinstance(event, JobEvent) else None


def _metadata(token: str) -> Sequence[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),) if token else ()


def _identify(request: Message) -> None:
    if _REQUEST_ID in request.DESCRIPTOR.fields_by_name and not getattr(request, _REQUEST_ID):
        setattr(request, _REQUEST_ID, str(uuid.uuid4()))


def _pause(error: RefusedError | UnreachableError, planned: float | None) -> float | None:
    """Returns how long to wait before another try, in seconds, or None when there is no point in one."""
    if planned is None or not is_repeatable(error):
        return None
    if isinstance(error, RefusedError) and error.retry_after is not None:
        asked = error.retry_after.total_seconds()
        return max(asked, planned) if asked <= _MOST_PATIENCE_SECONDS else None
    # Clients that were cut off together must not come back together.
    return planned * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
