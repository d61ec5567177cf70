"""Serves UserDirectoryService: finding users for the platform's operator."""

from pingvas.user.v1 import user_directory_service_pb2, user_directory_service_pb2_grpc, user_pb2

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_user import domain
from svc_user.servicer.messages import user_message
from svc_user.store import queries


class UserDirectoryServicer(user_directory_service_pb2_grpc.UserDirectoryServiceServicer):
    """Implements pingvas.user.v1.UserDirectoryService."""

    def __init__(self, database: Database) -> None:
        """Takes the database under the requests role: a look-up needs one user's rows, like a login."""
        self._database = database

    async def LookupUser(
        self, request: user_directory_service_pb2.LookupUserRequest, _context: object
    ) -> user_pb2.User:
        """Returns the user with an address."""
        email = domain.normalise_email(request.email)
        async with self._database.transaction() as transaction:
            await queries.enter_account_by_email(transaction, email)
            user = await queries.find_user_by_email(transaction, email)
        if user is None:
            message = "Nobody registered with this e-mail address; check its spelling."
            raise ServiceError(Reason.USER_NOT_FOUND, message, metadata={"email": email})
        return user_message(user)
