"""Serves AuditService: what was done to accounts."""

from collections.abc import Sequence
from uuid import UUID

from pingvas.user.v1 import audit_service_pb2, audit_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.db import Database
from svc_common.paging import PageTokens, page_size
from svc_user.messages import audit_event_message, audit_kind
from svc_user.store import audit
from svc_user.store.models import AuditEvent


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Implements pingvas.user.v1.AuditService."""

    def __init__(self, *, database: Database, tasks_database: Database, page_tokens: PageTokens) -> None:
        """Takes the database under both roles: one's own events are read as the requests role, all as the tasks role."""
        self._database = database
        self._tasks_database = tasks_database
        self._page_tokens = page_tokens

    async def ListAuditEvents(
        self, request: audit_service_pb2.ListAuditEventsRequest, _context: object
    ) -> audit_service_pb2.ListAuditEventsResponse:
        """Lists what was done to the caller's account."""
        account_id, size = current_account(), page_size(request.page_size)
        scope = f"audit:{account_id}"
        before = self._before(request.page_token, scope)
        async with self._database.transaction(account_id) as transaction:
            # One more than the page holds tells whether another page follows.
            found = await audit.list_events(
                transaction, account_id=account_id, kind=None, before=before, limit=size + 1
            )
        return self._page(found, size, scope)

    async def ListAllAuditEvents(
        self, request: audit_service_pb2.ListAllAuditEventsRequest, _context: object
    ) -> audit_service_pb2.ListAuditEventsResponse:
        """Lists what was done to one account, or to all."""
        size, scope = page_size(request.page_size), f"audit:all:{request.account_id}:{request.kind}"
        before = self._before(request.page_token, scope)
        account_id = UUID(request.account_id) if request.account_id else None
        kind = audit_kind(request.kind) if request.kind else None
        async with self._tasks_database.transaction() as transaction:
            found = await audit.list_events(
                transaction, account_id=account_id, kind=kind, before=before, limit=size + 1
            )
        return self._page(found, size, scope)

    def _before(self, page_token: str, scope: str) -> UUID | None:
        return UUID(self._page_tokens.decode(page_token, scope)[0]) if page_token else None

    def _page(self, found: Sequence[AuditEvent], size: int, scope: str) -> audit_service_pb2.ListAuditEventsResponse:
        page, token = self._page_tokens.cut(found, size, scope, lambda event: (str(event.event_id),))
        return audit_service_pb2.ListAuditEventsResponse(events=map(audit_event_message, page), next_page_token=token)
