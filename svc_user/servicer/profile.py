"""Serves UserService: the caller's own profile and sessions."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.user.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc

from svc_common.caller import current_account, current_caller, current_user
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.paging import PageTokens, page_size
from svc_user import domain
from svc_user.domain.audit import AuditKind
from svc_user.messages import session_message, user_message
from svc_user.servicer.avatars import AvatarMaker
from svc_user.servicer.users import get_caller
from svc_user.store import avatars, queries
from svc_user.usecases.audit import AuditTrail


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Implements pingvas.user.v1.UserService."""

    def __init__(
        self, database: Database, page_tokens: PageTokens, audit: AuditTrail, clock: Callable[[], datetime]
    ) -> None:
        """Takes the database under the requests role."""
        self._database = database
        self._audit = audit
        self._avatars = AvatarMaker()
        self._page_tokens = page_tokens
        self._clock = clock

    async def GetMe(self, _request: user_service_pb2.GetMeRequest, _context: object) -> user_pb2.User:
        """Returns the caller's profile."""
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, current_user())
            return user_message(user, await avatars.find_avatar(transaction, user.user_id))

    async def UpdateMe(self, request: user_service_pb2.UpdateMeRequest, _context: object) -> user_pb2.User:
        """Changes the caller's profile."""
        present = [name for name in domain.CHANGEABLE_FIELDS if request.HasField(name)]
        named = list(request.update_mask.paths)
        domain.check_update_mask(named, present)
        changed = named or present
        new_avatar = await self._avatars.make(request.avatar) if "avatar" in changed and request.avatar else None
        async with self._database.transaction(current_account()) as transaction:
            user = await get_caller(transaction, current_user())
            if "display_name" in changed:
                user.display_name = domain.clean_display_name(request.display_name)
            if "locale" in changed:
                user.locale = request.locale
            if "avatar" in changed:
                await avatars.replace_avatar(transaction, user, new_avatar)
            return user_message(user, await avatars.find_avatar(transaction, user.user_id))

    async def ListSessions(
        self, request: user_service_pb2.ListSessionsRequest, _context: object
    ) -> user_service_pb2.ListSessionsResponse:
        """Returns a page of the caller's sessions, the newest first."""
        user_id, size = current_user(), page_size(request.page_size)
        scope = f"sessions:{user_id}"
        before = UUID(self._page_tokens.decode(request.page_token, scope)[0]) if request.page_token else None
        async with self._database.transaction(current_account()) as transaction:
            # One more than the page holds tells whether another page follows.
            found = await queries.list_live_sessions(transaction, user_id, self._clock(), before=before, limit=size + 1)
        sessions, next_page_token = self._page_tokens.cut(
            found, size, scope, lambda session: (str(session.session_id),)
        )
        current = current_caller().session_id
        return user_service_pb2.ListSessionsResponse(
            sessions=[session_message(session, current) for session in sessions], next_page_token=next_page_token
        )

    async def RevokeSession(
        self, request: user_service_pb2.RevokeSessionRequest, _context: object
    ) -> user_service_pb2.RevokeSessionResponse:
        """Ends one of the caller's sessions."""
        session_id = UUID(request.session_id)
        async with self._database.transaction(current_account()) as transaction:
            if not await queries.has_session(transaction, current_user(), session_id):
                message = "You have no such session; ListSessions shows yours."
                raise ServiceError(Reason.SESSION_NOT_FOUND, message, metadata={"session_id": str(session_id)})
            await queries.revoke_session(transaction, session_id, self._clock())
            about = {"session_id": str(session_id)}
            await self._audit.add(transaction, AuditKind.SESSIONS_ENDED, current_account(), before=about)
        return user_service_pb2.RevokeSessionResponse()

    async def RevokeSessions(
        self, request: user_service_pb2.RevokeSessionsRequest, _context: object
    ) -> user_service_pb2.RevokeSessionsResponse:
        """Ends the caller's sessions."""
        spared = current_caller().session_id if request.keep_current else None
        async with self._database.transaction(current_account()) as transaction:
            count = await queries.revoke_sessions(transaction, current_user(), self._clock(), spared=spared)
            about = {"session_count": str(count)}
            await self._audit.add(transaction, AuditKind.SESSIONS_ENDED, current_account(), before=about)
        return user_service_pb2.RevokeSessionsResponse(revoked_count=count)
