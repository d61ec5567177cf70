"""A client of a deployment for one person: the SDK's, with the session that is kept here, and refusals as messages.

Which method a command calls is the command's own business.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import click
import grpc
import pingvas_sdk
from google.protobuf.message import Message
from pingvas.generation.v1.job_event_pb2 import JobEvent
from pingvas.user.v1.auth_service_pb2 import (
    LoginRequest,
    LogoutRequest,
    TokenPair,
    VerifySecondFactorRequest,
)
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from pingvas.user.v1.user_service_pb2 import GetMeRequest
from pingvas.user.v1.user_service_pb2_grpc import UserServiceStub
from pingvas_sdk.connection import CALL_SECONDS
from pingvas_sdk.credentials import Refresh

from studio.cli.context import Shared, config_dir
from studio.cli.credentials import Credentials, Session
from studio.cli.endpoint import USER_AGENT, read_address
from studio.cli.failures import CommandError
from studio.cli.refusals import command_error

Answer = TypeVar("Answer")


class Client:
    """A connection to a deployment, with the session of one person if there is one."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        """Takes the deployment's address and where sessions are kept; nothing is sent yet."""
        read_address(endpoint)
        self.endpoint = endpoint
        self._credentials = credentials
        self._session = KeptSession(endpoint, credentials)
        self._sdk = pingvas_sdk.Client(endpoint, credentials=self._session, user_agent=USER_AGENT)
        self.channel: grpc.aio.Channel = self._sdk.channel

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._sdk.close()

    def login(self, email: str, password: str, ask_code: Callable[[], str] | None = None) -> Session:
        """Begins a session and keeps it; raises CommandError when the two do not belong together.

        `ask_code` is asked for the code of an account with a second factor; by default the person at the terminal.
        """
        pair = self.call_anonymously(AuthServiceStub(self.channel).Login, LoginRequest(email=email, password=password))
        pair = self._with_second_step(pair, ask_code or _ask_code)
        with self._credentials.exclusively():
            return self._session.keep(email, pair)

    def begin(self, pair: TokenPair) -> Session:
        """Keeps a session that began without a password, after its second step where there is one."""
        pair = self._with_second_step(pair, _ask_code)
        with self._told(), pingvas_sdk.Client(self.endpoint, pair.access_token, user_agent=USER_AGENT) as sdk:
            user = sdk.call(UserServiceStub(sdk.channel).GetMe, GetMeRequest())
        with self._credentials.exclusively():
            return self._session.keep(user.email, pair)

    def _with_second_step(self, pair: TokenPair, ask_code: Callable[[], str]) -> TokenPair:
        """Returns the tokens of a session that has begun."""
        if not pair.HasField("second_factor"):
            return pair
        request = VerifySecondFactorRequest(challenge=pair.second_factor.challenge, code=ask_code())
        return self.call_anonymously(AuthServiceStub(self.channel).VerifySecondFactor, request)

    def renew_soon(self) -> None:
        """Lets the next call renew the access token, which allows less than a new one would."""
        with self._credentials.exclusively():
            self._credentials.save(self.endpoint, replace(self._session.require(), expire_time=0.0))

    def logout(self) -> None:
        """Ends the session here and at the deployment."""
        session = self._session.require()
        self.call_anonymously(AuthServiceStub(self.channel).Logout, LogoutRequest(refresh_token=session.refresh_token))
        with self._credentials.exclusively():
            self._credentials.forget(self.endpoint)

    def call_anonymously(self, method: Callable[..., Awaitable[Answer]], request: Message) -> Answer:
        """Calls a method that needs no session."""
        with self._told():
            return self._sdk.call(method, request, is_anonymous=True)

    def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Message,
        *,
        seconds: float = CALL_SECONDS,
    ) -> Answer:
        """Calls a method as this person, and again when the deployment is away for a moment."""
        with self._told():
            return self._sdk.call(method, request, seconds=seconds)

    def items(self, method: Callable[..., Awaitable[Any]], request: Message) -> Iterator[Any]:
        """Yields what a List method lists for this person, page after page as they are needed."""
        with self._told():
            yield from self._sdk.items(method, request)

    def watch(self, job_id: str, *, after: str = "") -> Iterator[JobEvent]:
        """Yields the events of a job up to its terminal one, from the first after `after`, across cuts of the stream."""
        with self._told():
            yield from self._sdk.watch(job_id, after=after)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pingvas_sdk.RefusedError, pingvas_sdk.UnreachableError) as error:
            raise command_error(error, self.endpoint) from error


class KeptSession:
    """The session in the file of this person, which other commands may renew at the same time."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        """Takes the deployment's address and the file."""
        self._endpoint = endpoint
        self._credentials = credentials
        # The file's lock keeps other commands out, this one the other calls of this command, for which it would wait for ever.
        self._lock = asyncio.Lock()

    async def token(self, refresh: Refresh) -> str:
        """Returns the access token, a new one when the present one is about to expire."""
        session = self.require()
        if not session.is_fresh(time.time()):
            await self.renew(session.access_token, refresh)
        return self.require().access_token

    async def renew(self, refused: str, refresh: Refresh) -> bool:
        """Exchanges the refresh token for a new pair, unless another command has just done so."""
        async with self._lock:
            with self._credentials.exclusively():
                current = self.require()
                if current.access_token == refused:
                    try:
                        self.keep(current.email, await refresh(current.refresh_token))
                    except pingvas_sdk.AuthenticationError:
                        self._credentials.forget(self._endpoint)
                        raise
        return True

    def keep(self, email: str, pair: TokenPair) -> Session:
        """Keeps a pair of tokens in place of the former one."""
        session = Session(email, pair.access_token, pair.refresh_token, time.time() + pair.expires_in)
        self._credentials.save(self._endpoint, session)
        return session

    def require(self) -> Session:
        """Returns the session; raises CommandError when there is none."""
        session = self._credentials.find(self._endpoint)
        if session is None:
            raise CommandError(
                f"you are not logged in at {self._endpoint}",
                advice="Log in with `pingvas login EMAIL`, or register with `pingvas register EMAIL`.",
            )
        return session


def connect(shared: Shared) -> Client:
    """Returns a client of the deployment that the command means, with this person's session."""
    return Client(shared.require_endpoint(), Credentials(config_dir()))


def _ask_code() -> str:
    prompt = "Code of your authenticator app, or a recovery code"
    return os.environ.get("PINGVAS_CODE") or str(click.prompt(prompt, err=True))
