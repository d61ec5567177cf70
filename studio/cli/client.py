"""A client of a deployment for one person: the channel, the session and its renewal, and refusals as messages.

It speaks gRPC through the edge with the generated stubs. Which method a command calls is the command's own business.
"""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc
from pingvas.generation.v1.generation_service_pb2 import WatchJobRequest
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_event_pb2 import JobEvent
from pingvas.user.v1.auth_service_pb2 import LoginRequest, LogoutRequest, RefreshRequest, TokenPair
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub

from studio.cli.credentials import Credentials, Session
from studio.cli.endpoint import open_channel
from studio.cli.failures import CommandError
from studio.cli.refusals import command_error, is_transient

_CALL_SECONDS = 30.0
_RETRY_AFTER_SECONDS = (0.2, 0.5, 1.0)
_STREAM_RETRY_SECONDS = 30.0
_TERMINAL = frozenset({"completed", "failed", "cancelled"})

Answer = TypeVar("Answer")


class Client:
    """A connection to a deployment, with the session of one person if there is one."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        """Takes the deployment's address and where sessions are kept; nothing is sent yet."""
        self.endpoint = endpoint
        self._credentials = credentials
        self.channel = open_channel(endpoint)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.channel.close()

    def login(self, email: str, password: str) -> Session:
        """Begins a session and keeps it; raises CommandError when the two do not belong together."""
        pair = self.call_anonymously(AuthServiceStub(self.channel).Login, LoginRequest(email=email, password=password))
        with self._credentials.exclusively():
            return self._keep(email, pair)

    def logout(self) -> None:
        """Ends the session here and at the deployment."""
        session = self._require_session()
        self.call_anonymously(AuthServiceStub(self.channel).Logout, LogoutRequest(refresh_token=session.refresh_token))
        with self._credentials.exclusively():
            self._credentials.forget(self.endpoint)

    def call_anonymously(self, method: Callable[..., Answer], request: object) -> Answer:
        """Calls a method that needs no session."""
        try:
            return method(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            raise command_error(error, self.endpoint) from error

    def call(self, method: Callable[..., Answer], request: object) -> Answer:
        """Calls a method as this person, and again when the deployment is away for a moment: it must bear that."""
        renewed = False
        retries = iter(_RETRY_AFTER_SECONDS)
        while True:
            try:
                return method(request, timeout=_CALL_SECONDS, metadata=self._authorization())
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED and not renewed:
                    renewed = True
                    self._renew()
                    continue
                pause = next(retries, None) if is_transient(error) else None
                if pause is None:
                    raise command_error(error, self.endpoint) from error
                time.sleep(pause)

    def watch(self, job_id: str, *, after: str = "") -> Iterator[JobEvent]:
        """Yields the events of a job up to its terminal one, from the first after `after`, across cuts of the stream."""
        stub = GenerationServiceStub(self.channel)
        last_heard = time.monotonic()
        while True:
            try:
                stream = stub.WatchJob(WatchJobRequest(job_id=job_id, after=after), metadata=self._authorization())
                for event in stream:
                    last_heard = time.monotonic()
                    after = event.event_id or after
                    yield event
                    if event.WhichOneof("detail") in _TERMINAL:
                        return
            except grpc.RpcError as error:
                self._recover(error, silent_seconds=time.monotonic() - last_heard)

    def _recover(self, error: grpc.RpcError, *, silent_seconds: float) -> None:
        """Prepares another try of a cut stream, or raises CommandError when there is no point in one."""
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            self._renew()
        elif not is_transient(error) or silent_seconds > _STREAM_RETRY_SECONDS:
            raise command_error(error, self.endpoint) from error
        time.sleep(_RETRY_AFTER_SECONDS[0])

    def _authorization(self) -> tuple[tuple[str, str], ...]:
        session = self._require_session()
        if not session.is_fresh(time.time()):
            session = self._renew()
        return (("authorization", f"Bearer {session.access_token}"),)

    def _renew(self) -> Session:
        """Exchanges the refresh token for a new pair, unless another command has just done so."""
        used = self._require_session()
        with self._credentials.exclusively():
            current = self._require_session()
            if current != used:
                return current
            request = RefreshRequest(refresh_token=current.refresh_token)
            try:
                pair = AuthServiceStub(self.channel).Refresh(request, timeout=_CALL_SECONDS)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    self._credentials.forget(self.endpoint)
                raise command_error(error, self.endpoint) from error
            return self._keep(current.email, pair)

    def _keep(self, email: str, pair: TokenPair) -> Session:
        session = Session(email, pair.access_token, pair.refresh_token, time.time() + pair.expires_in)
        self._credentials.save(self.endpoint, session)
        return session

    def _require_session(self) -> Session:
        session = self._credentials.find(self.endpoint)
        if session is None:
            raise CommandError(
                f"you are not logged in at {self.endpoint}",
                advice="Log in with `pingvas login EMAIL`, or register with `pingvas register EMAIL`.",
            )
        return session
