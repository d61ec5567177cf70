"""Writes down what is done to accounts, in the transaction that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_caller
from svc_common.clock import new_id
from svc_user.domain.audit import AuditKind
from svc_user.store import audit
from svc_user.store.models import AuditEvent
from svc_user.usecases.client import ClientOfCall

Details = Mapping[str, str]
_NOTHING: Details = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Client:
    """Where somebody calls from, as the audit log keeps it."""

    network: str
    user_agent: str


class AuditTrail:
    """Adds to the audit log what the present call does."""

    def __init__(self, client: ClientOfCall, clock: Callable[[], datetime]) -> None:
        """Takes what finds out about the caller."""
        self._client = client
        self._clock = clock

    async def add(
        self,
        transaction: AsyncSession,
        kind: AuditKind,
        account_id: UUID,
        *,
        actor: str = "",
        client: Client | None = None,
        before: Details = _NOTHING,
        after: Details = _NOTHING,
    ) -> None:
        """Adds an event, by default of whoever makes the call. Neither of the details may hold a secret or an address."""
        client = client or Client(self._client.network, self._client.user_agent)
        event = AuditEvent(
            event_id=new_id(),
            account_id=account_id,
            actor=actor or str(current_caller()),
            kind=kind.value,
            create_time=self._clock(),
            network=client.network,
            user_agent=client.user_agent,
            before=dict(before),
            after=dict(after),
        )
        await audit.insert_event(transaction, event)


def by_user(user_id: UUID) -> str:
    """Returns the actor of a call by which somebody shows who they are, and isn't known before."""
    return f"user:{user_id}"
