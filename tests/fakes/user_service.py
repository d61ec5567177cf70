"""A user service whose methods do what the test tells them, behind the real server."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
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
Fake = TypeVar("Fake")


async def answer_nobody() -> user_pb2.User:
    """Answers with a user without properties."""
    return user_pb2.User()


def answering_all(*services: ServiceDescriptor) -> Callable[[type[Fake]], type[Fake]]:
    """Gives a fake every method of its contracts: those that answer with a user run `_run`, others answer with nothing."""

    def complete(fake: type[Fake]) -> type[Fake]:
        for service in services:
            for method in service.methods:
                setattr(fake, method.name, _answer(method))
        return fake

    return complete


def _answer(method: MethodDescriptor) -> Callable[..., Awaitable[Message]]:
    answers_with_user = method.output_type is user_pb2.User.DESCRIPTOR

    async def answer(self: Any, request: Any, context: Any) -> Message:
        if answers_with_user:
            user: user_pb2.User = await self._run()
            return user
        empty: Message = method.output_type._concrete_class()
        return empty

    return answer


@answering_all(
    user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
    user_directory_service_pb2.DESCRIPTOR.services_by_name["UserDirectoryService"],
)
class ScriptedUserService(
    user_service_pb2_grpc.UserServiceServicer,
    user_directory_service_pb2_grpc.UserDirectoryServiceServicer,
):
    """Runs `behaviour` in every method and counts how often it was reached."""

    def __init__(self, behaviour: Behaviour = answer_nobody) -> None:
        self.behaviour = behaviour
        self.calls = 0

    async def _run(self) -> user_pb2.User:
        self.calls += 1
        return await self.behaviour()


@answering_all(auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"])
class ScriptedAuthService(auth_service_pb2_grpc.AuthServiceServicer):
    """Runs `behaviour` in Register; the other methods are of no interest."""

    def __init__(self, behaviour: Behaviour = answer_nobody) -> None:
        self.behaviour = behaviour

    async def _run(self) -> user_pb2.User:
        return await self.behaviour()
