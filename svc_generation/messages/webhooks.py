"""Rows of webhooks to messages, and the bodies that are sent."""

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf import json_format
from pingvas.generation.v1 import job_event_pb2, webhook_pb2

from svc_generation.domain.event_ids import EventId
from svc_generation.domain.waiting import WaitEstimate
from svc_generation.domain.webhooks import TYPE_NAMES, DeliveryState, WebhookEvent
from svc_generation.messages.jobs import JobConverter, timestamp
from svc_generation.store.models import Job, WebhookDelivery, WebhookEndpoint, WebhookSecret

_NO_WAIT: Final = WaitEstimate(0.0, 0.0)


def endpoint_message(row: WebhookEndpoint, *, shows_secret: bool = False) -> webhook_pb2.WebhookEndpoint:
    """Converts an endpoint; its secret is shown where it was just made."""
    message = webhook_pb2.WebhookEndpoint(
        endpoint_id=str(row.endpoint_id),
        url=row.url,
        description=row.description,
        events=row.events,  # type: ignore[arg-type]
        named_jobs_only=row.named_jobs_only,
        disabled=bool(row.disabled),
        disable_reason=row.disable_reason or "",
        create_time=timestamp(row.create_time),
        secret=secret_text(row.secret) if shows_secret else "",
    )
    if row.failing_since is not None:
        message.failing_since.FromDatetime(row.failing_since)
    return message


def account_secret_message(row: WebhookSecret, now: datetime) -> webhook_pb2.AccountWebhookSecret:
    """Converts the secret for the addresses that an account's jobs bring along."""
    message = webhook_pb2.AccountWebhookSecret(secret=secret_text(row.secret))
    if row.old_secret_expire_time is not None and now < row.old_secret_expire_time:
        message.old_secret_expire_time.FromDatetime(row.old_secret_expire_time)
    return message


def secret_text(secret: bytes) -> str:
    """Returns a secret as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def delivery_message(row: WebhookDelivery) -> webhook_pb2.WebhookDelivery:
    """Converts a delivery."""
    message = webhook_pb2.WebhookDelivery(
        delivery_id=str(row.delivery_id),
        endpoint_id=str(row.endpoint_id),
        event=row.event,  # type: ignore[arg-type]
        job_id=str(row.job_id or ""),
        event_id=row.event_id or "",
        state=row.state or DeliveryState.PENDING,  # type: ignore[arg-type]
        attempt_count=row.attempt_count or 0,
        last_http_status=row.last_http_status or 0,
        last_error=row.last_error or "",
        create_time=timestamp(row.create_time),
    )
    if row.last_attempt_time is not None:
        message.last_attempt_time.FromDatetime(row.last_attempt_time)
    if row.next_attempt_time is not None:
        message.next_attempt_time.FromDatetime(row.next_attempt_time)
    return message


async def body_of(delivery: WebhookDelivery, job: Job | None, converter: JobConverter) -> bytes:
    """Returns what is sent: the event with its type and time. Addresses of pictures are fresh in each attempt."""
    data: dict[str, Any] = {}
    if event := _account_event(delivery) or await _event(delivery, job, converter):
        data = json_format.MessageToDict(
            event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    document = {"type": TYPE_NAMES[WebhookEvent(delivery.event)], "timestamp": _iso(delivery.create_time), "data": data}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _account_event(delivery: WebhookDelivery) -> webhook_pb2.LowBalance | None:
    return None if delivery.content is None else webhook_pb2.LowBalance.FromString(delivery.content)


async def _event(delivery: WebhookDelivery, job: Job | None, converter: JobConverter) -> job_event_pb2.JobEvent | None:
    if delivery.progress is not None:
        return job_event_pb2.JobEvent.FromString(delivery.progress)
    if job is None:
        return None
    if delivery.event == WebhookEvent.JOB_STARTED:
        # A later attempt has overwritten what the row said of this one.
        event = job_event_pb2.JobEvent(
            event_id=delivery.event_id, job_id=str(job.job_id), create_time=timestamp(delivery.create_time)
        )
        event.state = 2  # type: ignore[assignment]
        event.started.attempt = delivery.job_attempt
        return event
    sequence = EventId.parse(delivery.event_id).sequence
    events = await converter.events(job, sequence - 1, 0, _NO_WAIT)
    return next((event for event_id, event in events if event_id.sequence == sequence), None)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
