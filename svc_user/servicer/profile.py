"""Serves UserService: the caller's own profile."""

from uuid import UUID

from pingvas.user.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_user import domain
from svc_user.servicer.messages import user_message
from svc_user.store import queries
from svc_user.store.models import User


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Implements pingvas.user.v1.UserService."""

    def __init__(self, database: Database) -> None:
        """Takes the database under the requests role."""
        self._database = database

    async def GetMe(self, _request: user_service_pb2.GetMeRequest, _context: object) -> user_pb2.User:
        """Returns the caller's profile."""
        async with self._database.transaction(current_account()) as transaction:
            return user_message(await _get_caller(transaction, current_user()))

    async def UpdateMe(self, request: user_service_pb2.UpdateMeRequest, _context: object) -> user_pb2.User:
        """Changes the caller's profile."""
        is_named = request.HasField("display_name")
        domain.check_update_mask(list(request.update_mask.paths), display_name_present=is_named)
        async with self._database.transaction(current_account()) as transaction:
            user = await _get_caller(transaction, current_user())
            if is_named:
                user.display_name = domain.clean_display_name(request.display_name)
        return user_message(user)


async def _get_caller(transaction: AsyncSession, user_id: UUID) -> User:
    user = await queries.get_user(transaction, user_id)
    if user is None:
        # An access token outlives its user by ten minutes at most.
        message = "Your account doesn't exist any more; register again."
        raise ServiceError(Reason.USER_NOT_FOUND, message, metadata={"user_id": str(user_id)})
    return user
