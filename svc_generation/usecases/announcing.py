"""Announces committed changes of state to the streams that watch, in this process and in others.

An announcement may be lost: the streams read PostgreSQL as well, so nothing depends on it but the time that they take.
"""

from collections.abc import Iterable
from uuid import UUID

from svc_common.events import EventPublisher
from svc_generation.store.models import Job
from svc_generation.usecases.watch_hub import WatchHub


class Announcer:
    """Announces changes; never raises."""

    def __init__(self, hub: WatchHub, publisher: EventPublisher) -> None:
        """Takes the way to the streams of this process, and the one to those of others."""
        self._hub = hub
        self._publisher = publisher

    async def announce(self, row: Job) -> None:
        """Announces the change that has just been committed with this row."""
        self._hub.hand_over(row)
        await self._publisher.announce({row.account_id: row.last_sequence})

    async def announce_accounts(self, account_ids: Iterable[UUID]) -> None:
        """Announces that jobs of these accounts have changed, where the rows are not at hand."""
        await self._publisher.announce(dict.fromkeys(account_ids, 0))
