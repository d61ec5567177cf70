"""A user service whose every method does what the test tells it, behind the real server."""

# ruff: noqa: ARG002 - the signatures are those of the contract

from collections.abc import Awaitable, Callable
from typing import Any

from pingvas.user.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    user_directory_service_pb2,
    user_directory_service_pb2_grpc,
    user_pb2,
    user_service_pb2,
    user_service_pb2_grpc,
)

Behaviour = Callable[[], Awaitable[user_pb2.User]]


async def answer_nobody() -> user_pb2.User:
    """Answers with a user without properties."""
    return user_pb2.User()


class ScriptedUserService(
    user_service_pb2_grpc.UserServiceServicer,
    user_directory_service_pb2_grpc.UserDirectoryServiceServicer,
):
    """Runs `behaviour` in every method and counts how often it was reached."""

    def __init__(self, behaviour: Behaviour = answer_nobody) -> None:
        self.behaviour = behaviour
        self.calls = 0

    async def GetMe(self, request: user_service_pb2.GetMeRequest, context: Any) -> user_pb2.User:
        return await self._run()

    async def UpdateMe(self, request: user_service_pb2.UpdateMeRequest, context: Any) -> user_pb2.User:
        return await self._run()

    async def LookupUser(self, request: user_directory_service_pb2.LookupUserRequest, context: Any) -> user_pb2.User:
        return await self._run()

    async def _run(self) -> user_pb2.User:
        self.calls += 1
        return await self.behaviour()


class ScriptedAuthService(auth_service_pb2_grpc.AuthServiceServicer):
    """Runs `behaviour` in Register; the other methods are of no interest."""

    def __init__(self, behaviour: Behaviour = answer_nobody) -> None:
        self.behaviour = behaviour

    async def Register(self, request: auth_service_pb2.RegisterRequest, context: Any) -> user_pb2.User:
        return await self.behaviour()

    async def Login(self, request: auth_service_pb2.LoginRequest, context: Any) -> auth_service_pb2.TokenPair:
        return auth_service_pb2.TokenPair()

    async def Refresh(self, request: auth_service_pb2.RefreshRequest, context: Any) -> auth_service_pb2.TokenPair:
        return auth_service_pb2.TokenPair()

    async def Logout(self, request: auth_service_pb2.LogoutRequest, context: Any) -> auth_service_pb2.LogoutResponse:
        return auth_service_pb2.LogoutResponse()

    async def GetJwks(self, request: auth_service_pb2.GetJwksRequest, context: Any) -> auth_service_pb2.JwkSet:
        return auth_service_pb2.JwkSet()
