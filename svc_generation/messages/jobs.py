"""Rows to messages and back. The names of the fields are the contract's."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2

from svc_common.credits import format_credits
from svc_common.object_keys import ORIGINAL, image_key
from svc_common.objects import ObjectStore
from svc_generation.domain.event_ids import EventId
from svc_generation.domain.objects import ADDRESS_LIFETIME
from svc_generation.domain.sizes import SizePreset
from svc_generation.domain.states import JobState
from svc_generation.domain.waiting import WaitEstimate
from svc_generation.messages.operations import parsed, put
from svc_generation.store.models import Job


def timestamp(moment: datetime) -> Timestamp:
    """Converts a moment."""
    result = Timestamp()
    result.FromDatetime(moment)
    return result


def size_preset_message(name: str, preset: SizePreset) -> generation_service_pb2.SizePreset:
    """Returns the message of a size that has a name."""
    return generation_service_pb2.SizePreset(
        name=name,
        width_px=preset.size.width_px,
        height_px=preset.size.height_px,
        place_width_px=preset.place.width_px,
        place_height_px=preset.place.height_px,
    )


class JobConverter:
    """Writes jobs and their events as messages; signs the addresses of their pictures."""

    def __init__(self, objects: ObjectStore) -> None:
        """Takes the object store that the addresses point to."""
        self._objects = objects

    async def job(self, row: Job, position: int, estimate: WaitEstimate) -> job_pb2.Job:
        """Converts a job; position and estimate are written for a waiting one only."""
        message = job_pb2.Job(
            job_id=str(row.job_id),
            state=row.state,  # type: ignore[arg-type]
            credits_quoted=format_credits(row.quoted_millicredits),
            credits_held=format_credits(row.held_millicredits),
            credits_used="" if row.used_millicredits is None else format_credits(row.used_millicredits),
            tier=row.tier,  # type: ignore[arg-type]
            attempt=row.attempt,
            create_time=timestamp(row.create_time),
            event_id=str(EventId(row.last_sequence)),
        )
        put(message, parsed(row.operation_kind, row.operation))
        if row.state == JobState.QUEUED:
            message.queue_position = position
            message.estimated_wait_seconds = estimate.p50_seconds
            message.estimated_wait_p90_seconds = estimate.p90_seconds
            message.is_tier_paused = estimate.is_tier_paused
        if row.start_time is not None:
            message.start_time.FromDatetime(row.start_time)
        if row.end_time is not None:
            message.end_time.FromDatetime(row.end_time)
        if row.state == JobState.COMPLETED:
            message.images.extend(await self.images(row))
        if row.state == JobState.FAILED:
            message.failure.CopyFrom(_failure(row))
        return message

    async def images(self, row: Job) -> list[job_pb2.JobImage]:
        """Converts the pictures of a completed job, with fresh addresses."""
        keys = [image_key(row.account_id, UUID(image["image_id"]), ORIGINAL) for image in row.images]
        urls = [self._objects.public_address(await self._objects.presign_get(key, ADDRESS_LIFETIME)) for key in keys]
        return [
            job_pb2.JobImage(
                image_id=image["image_id"],
                url=url,
                width_px=image["width_px"],
                height_px=image["height_px"],
                seed=image["seed"],
                # Absent in rows of pictures with whole LoRAs, and of those from before there was such a list.
                partial_loras=[job_pb2.LoraCoverage(**lora) for lora in image.get("partial_loras", ())],
            )
            for image, url in zip(row.images, urls, strict=True)
        ]

    async def events(
        self, row: Job, after: int, position: int, estimate: WaitEstimate
    ) -> list[tuple[EventId, job_event_pb2.JobEvent]]:
        """Writes the changes of state that a row tells of and that come after an event number, in their order."""
        return [
            (EventId(sequence), await self._event(row, sequence, position, estimate))
            for sequence in sorted(_sequences(row))
            if sequence > after
        ]

    async def _event(self, row: Job, sequence: int, position: int, estimate: WaitEstimate) -> job_event_pb2.JobEvent:
        event = job_event_pb2.JobEvent(event_id=str(EventId(sequence)), job_id=str(row.job_id))
        if sequence == row.queued_sequence:
            event.state = job_pb2.JOB_STATE_QUEUED
            event.create_time.FromDatetime(row.queue_time)
            event.queued.position = position if row.state == JobState.QUEUED else 0
            event.queued.estimated_wait_seconds = estimate.p50_seconds
            event.queued.estimated_wait_p90_seconds = estimate.p90_seconds
            event.queued.is_tier_paused = estimate.is_tier_paused
        elif sequence == row.started_sequence:
            event.state = job_pb2.JOB_STATE_RUNNING
            event.create_time.FromDatetime(row.start_time or row.queue_time)
            event.started.attempt = row.attempt
        else:
            event.state = row.state  # type: ignore[assignment]
            event.create_time.FromDatetime(row.end_time or row.queue_time)
            await self._end(event, row)
        return event

    async def _end(self, event: job_event_pb2.JobEvent, row: Job) -> None:
        used = format_credits(row.used_millicredits or 0)
        if row.state == JobState.COMPLETED:
            event.completed.images.extend(await self.images(row))
            event.completed.credits_used = used
        elif row.state == JobState.FAILED:
            failure = _failure(row)
            event.failed.reason = failure.reason
            event.failed.message = failure.message
            event.failed.credits_refunded = format_credits(row.held_millicredits)
        else:
            event.cancelled.credits_used = used


def _sequences(row: Job) -> Iterator[int]:
    return (s for s in (row.queued_sequence, row.started_sequence, row.ended_sequence) if s is not None)


def _failure(row: Job) -> job_pb2.JobFailure:
    reason = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{row.failure_reason}")
    return job_pb2.JobFailure(reason=reason, message=row.failure_message or "")
