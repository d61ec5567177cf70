"""Requests to make jobs: what is asked for, by whom, and by what a repetition is recognised."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from pingvas.generation.v1 import generation_service_pb2
from pingvas.vocabulary import Operation as OperationKind

from svc_common.api_keys import KeyLimits
from svc_common.errors import invalid_field
from svc_generation.domain.webhooks import ENDS
from svc_generation.messages.operations import Operation, asked, kind_of


@dataclass(frozen=True, slots=True)
class JobWebhook:
    """Holds an address that a job brings along, and the events that it gets."""

    url: str
    events: tuple[int, ...]

    @classmethod
    def of(cls, request: generation_service_pb2.CreateJobRequest) -> "JobWebhook | None":
        """Returns the address of a request, if it has one.

        Raises:
            ServiceError: INVALID_FIELD for events without an address.
        """
        if request.webhook_url:
            return cls(request.webhook_url, tuple(sorted(request.webhook_events or ENDS)))
        if request.webhook_events:
            raise invalid_field("webhook_events", "must come with webhook_url, the address that is to get them")
        return None

    def terms(self) -> bytes:
        """Returns the bytes by which another address or other events are told."""
        return b"\0webhook_url\0" + bytes(self.events) + self.url.encode()


@dataclass(frozen=True, slots=True)
class Submission:
    """Holds a request to make a job, and who makes it."""

    account_id: UUID
    user_id: UUID
    request_id: str
    """The caller's own id of the request; "" for none."""
    wish: Operation
    fingerprint: bytes
    """SHA-256 of what is asked for: the same request id with another one is refused."""
    key: KeyLimits | None = None
    """The API key that asks, with its limits; None for a person."""
    webhook_endpoint_id: UUID | None = None
    """The endpoint that gets the job's events although it asks for named jobs only."""
    webhook: JobWebhook | None = None
    """The address that the job brings along for its events."""

    @classmethod
    def of(
        cls,
        request: generation_service_pb2.CreateJobRequest,
        account_id: UUID,
        user_id: UUID,
        request_id: str,
        key: KeyLimits | None,
    ) -> "Submission":
        """Returns the submission of a request."""
        wish = asked(request)
        endpoint_id = UUID(request.webhook_endpoint_id) if request.webhook_endpoint_id else None
        webhook = JobWebhook.of(request)
        fingerprint = _fingerprint(wish, endpoint_id, webhook)
        return cls(account_id, user_id, request_id, wish, fingerprint, key, endpoint_id, webhook)


def _fingerprint(wish: Operation, endpoint_id: UUID | None, webhook: JobWebhook | None) -> bytes:
    """Returns SHA-256 of what is asked for. Two operations may have the same bytes, so that the kind counts as well.

    That of text_to_image stands without it, as it did when there was nothing else: a replay of an old request is known.
    """
    kind = kind_of(wish)
    prefix = b"" if kind is OperationKind.TEXT_TO_IMAGE else kind.encode() + b"\0"
    named = b"" if endpoint_id is None else b"\0webhook\0" + endpoint_id.bytes
    brought = b"" if webhook is None else webhook.terms()
    return hashlib.sha256(prefix + wish.SerializeToString(deterministic=True) + named + brought).digest()
