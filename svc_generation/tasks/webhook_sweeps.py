"""What comes round again for webhooks: the progress of running jobs, sampled, and the end of old deliveries."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from pingvas.generation.v1 import job_event_pb2

from svc_common.db import Database
from svc_common.sweeps import Sweep
from svc_generation.domain.webhooks import KEPT_FOR, DeliveryState, WebhookEvent
from svc_generation.store import webhooks
from svc_generation.store.models import WebhookDelivery

# With the sweeps' jitter of a fifth, two samples are never closer than a second.
_SAMPLED_EVERY: Final = timedelta(seconds=1.25)
_MOST_SAMPLED: Final = 1000
_MOST_DELETED: Final = 5000


class WebhookSweeps:
    """Owns the sweeps."""

    def __init__(
        self,
        *,
        database: Database,
        history: Callable[[UUID], Awaitable[Sequence[bytes]]],
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the tasks' database, and what returns the serialized progress of a job."""
        self._database = database
        self._history = history
        self._now = now
        self._new_id = new_id

    def sweeps(self) -> Sequence[Sweep]:
        """Lists the sweeps with their intervals."""
        return (
            Sweep("generation.webhook_progress", _SAMPLED_EVERY, self.note_progress),
            Sweep("generation.webhook_retention", timedelta(minutes=10), self.delete_old),
        )

    async def note_progress(self) -> int:
        """Puts the latest step of each running job into the outbox of the endpoints that want it."""
        async with self._database.transaction() as session:
            wanted = await webhooks.list_progressing(session, _MOST_SAMPLED)
        latest = {job_id: (await self._history(job_id))[-1:] for _, _, job_id in wanted}
        deliveries = [
            self._delivery(endpoint_id, account_id, job_id, data)
            for endpoint_id, account_id, job_id in wanted
            for data in latest[job_id]
        ]
        async with self._database.transaction() as session:
            return await webhooks.add_progress(session, deliveries)

    async def delete_old(self) -> int:
        """Deletes what can't be seen or replayed any more."""
        async with self._database.transaction() as session:
            return await webhooks.delete_old(session, self._now() - KEPT_FOR, _MOST_DELETED)

    def _delivery(self, endpoint_id: UUID, account_id: UUID, job_id: UUID, data: bytes) -> WebhookDelivery:
        event, now = job_event_pb2.JobEvent.FromString(data), self._now()
        event.progress.preview_jpeg = b""
        return WebhookDelivery(
            delivery_id=self._new_id(),
            endpoint_id=endpoint_id,
            account_id=account_id,
            event=WebhookEvent.JOB_PROGRESS,
            job_id=job_id,
            event_id=event.event_id,
            progress=event.SerializeToString(),
            state=DeliveryState.PENDING,
            create_time=now,
            next_attempt_time=now,
        )
