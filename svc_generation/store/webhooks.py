"""What svc_generation asks of its tables of webhooks, and changes in them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    any_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_generation.domain.states import JobState
from svc_generation.domain.webhooks import DeliveryState, WebhookEvent
from svc_generation.store.models import Job, WebhookDelivery, WebhookEndpoint, WebhookJob, WebhookSecret

Place = tuple[datetime, UUID] | None

_IS_REGISTERED: Final = WebhookEndpoint.of_job.is_(False)
# Of an event of no job the comparison is null, and so not true.
_RECEIVER: Final = case(
    (WebhookDelivery.endpoint_id == WebhookDelivery.job_id, WebhookDelivery.account_id),
    else_=WebhookDelivery.endpoint_id,
)


async def find_request(session: AsyncSession, account_id: UUID, request_id: str) -> WebhookEndpoint | None:
    """Returns the endpoint that a request id has made, if there is one."""
    statement = select(WebhookEndpoint).where(
        WebhookEndpoint.account_id == account_id, WebhookEndpoint.request_id == request_id
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def count_endpoints(session: AsyncSession, account_id: UUID) -> int:
    """Returns how many endpoints an account has registered."""
    statement = select(func.count()).where(WebhookEndpoint.account_id == account_id, _IS_REGISTERED)
    return (await session.execute(statement)).scalar_one()


async def get_endpoint(
    session: AsyncSession, account_id: UUID, endpoint_id: UUID, *, locked: bool = False, of_jobs: bool = False
) -> WebhookEndpoint | None:
    """Returns an endpoint of an account, locked until the end of the transaction if it is to be changed.

    The addresses of jobs are found with `of_jobs` only.
    """
    statement = select(WebhookEndpoint).where(
        WebhookEndpoint.account_id == account_id, WebhookEndpoint.endpoint_id == endpoint_id
    )
    if not of_jobs:
        statement = statement.where(_IS_REGISTERED)
    return (
        await session.execute(statement.with_for_update(key_share=True) if locked else statement)
    ).scalar_one_or_none()


async def list_endpoints(
    session: AsyncSession, account_id: UUID, before: Place, limit: int
) -> Sequence[WebhookEndpoint]:
    """Returns an account's registered endpoints, newest first, from behind a place in that order."""
    statement = select(WebhookEndpoint).where(WebhookEndpoint.account_id == account_id, _IS_REGISTERED)
    key = tuple_(WebhookEndpoint.create_time, WebhookEndpoint.endpoint_id)
    if before is not None:
        statement = statement.where(key < tuple_(literal(before[0]), literal(before[1])))
    statement = statement.order_by(WebhookEndpoint.create_time.desc(), WebhookEndpoint.endpoint_id.desc())
    return (await session.execute(statement.limit(limit))).scalars().all()


async def delete_endpoint(session: AsyncSession, account_id: UUID, endpoint_id: UUID) -> None:
    """Deletes an endpoint with its deliveries."""
    await session.execute(
        delete(WebhookEndpoint).where(
            WebhookEndpoint.account_id == account_id, WebhookEndpoint.endpoint_id == endpoint_id
        )
    )


async def account_secret(
    session: AsyncSession, account_id: UUID, new_secret: bytes, now: datetime, *, locked: bool = False
) -> WebhookSecret:
    """Returns the secret for the addresses that an account's jobs bring along, which becomes `new_secret` if there is none.

    Locked until the end of the transaction if it is to be changed.
    """
    values = {"account_id": account_id, "secret": new_secret, "create_time": now}
    await session.execute(insert(WebhookSecret).values(values).on_conflict_do_nothing())
    statement = select(WebhookSecret).where(WebhookSecret.account_id == account_id)
    return (await session.execute(statement.with_for_update() if locked else statement)).scalar_one()


async def find_account_secrets(session: AsyncSession, account_ids: Collection[UUID]) -> Mapping[UUID, WebhookSecret]:
    """Returns the secrets of those accounts that have one."""
    if not account_ids:
        return {}
    rows = await session.scalars(select(WebhookSecret).where(WebhookSecret.account_id.in_(account_ids)))
    return {row.account_id: row for row in rows}


async def list_deliveries(
    session: AsyncSession, endpoint_id: UUID, before: Place, limit: int
) -> Sequence[WebhookDelivery]:
    """Returns an endpoint's deliveries, newest first, from behind a place in that order."""
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    key = tuple_(WebhookDelivery.create_time, WebhookDelivery.delivery_id)
    if before is not None:
        statement = statement.where(key < tuple_(literal(before[0]), literal(before[1])))
    statement = statement.order_by(WebhookDelivery.create_time.desc(), WebhookDelivery.delivery_id.desc())
    return (await session.execute(statement.limit(limit))).scalars().all()


async def replay(session: AsyncSession, account_id: UUID, delivery_id: UUID, now: datetime) -> WebhookDelivery | None:
    """Makes a delivery due, with attempts as for a new one; returns it, if there is one."""
    statement = (
        update(WebhookDelivery)
        .where(WebhookDelivery.account_id == account_id, WebhookDelivery.delivery_id == delivery_id)
        .values(state=DeliveryState.PENDING, next_attempt_time=now, round_count=0)
        .returning(WebhookDelivery)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def claim_due(
    session: AsyncSession, now: datetime, lease: timedelta, busy: Collection[UUID], limit: int
) -> Sequence[Row[WebhookDelivery, WebhookEndpoint]]:
    """Takes due deliveries for an attempt that may last as long as the lease, none for the busy receivers.

    A receiver is an endpoint, or an account with all addresses that its jobs bring along: those may be very many, and must
    not take all the room when none of them answers.

    Several processes take different ones. The attempt is counted now, so that one whose process dies isn't made for ever.
    """
    due = (
        select(WebhookDelivery.delivery_id)
        .where(WebhookDelivery.state == DeliveryState.PENDING, WebhookDelivery.next_attempt_time <= now)
        .where(_RECEIVER.not_in(busy))
        .order_by(WebhookDelivery.next_attempt_time)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    statement = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.delivery_id == due.c.delivery_id,
            WebhookEndpoint.endpoint_id == WebhookDelivery.endpoint_id,
        )
        .values(
            attempt_count=WebhookDelivery.attempt_count + 1,
            round_count=WebhookDelivery.round_count + 1,
            next_attempt_time=now + lease,
        )
        .returning(WebhookDelivery, WebhookEndpoint)
    )
    return (await session.execute(statement)).all()


async def note_attempt(
    session: AsyncSession,
    delivery: WebhookDelivery,
    state: DeliveryState,
    next_attempt_time: datetime | None,
    *,
    http_status: int,
    error: str,
    now: datetime,
) -> None:
    """Records what became of an attempt, unless a later one has begun meanwhile."""
    await session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.delivery_id == delivery.delivery_id,
            WebhookDelivery.attempt_count == delivery.attempt_count,
        )
        .values(
            state=state,
            next_attempt_time=next_attempt_time,
            last_http_status=http_status,
            last_error=error,
            last_attempt_time=now,
        )
    )


async def note_success(session: AsyncSession, endpoint_id: UUID) -> None:
    """Records that an endpoint works."""
    await session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.endpoint_id == endpoint_id, WebhookEndpoint.failing_since.is_not(None))
        .values(failing_since=None)
    )


async def note_failure(session: AsyncSession, endpoint_id: UUID, now: datetime) -> datetime | None:
    """Records that an endpoint has failed, and returns since when it does; None when it isn't there any more."""
    statement = (
        update(WebhookEndpoint)
        .where(WebhookEndpoint.endpoint_id == endpoint_id)
        .values(failing_since=func.coalesce(WebhookEndpoint.failing_since, now))
        .returning(WebhookEndpoint.failing_since)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def disable(session: AsyncSession, endpoint_id: UUID, reason: str) -> None:
    """Disables an endpoint and gives up what is pending for it."""
    await session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.endpoint_id == endpoint_id)
        .values(disabled=True, disable_reason=reason)
    )
    await give_up_pending(session, endpoint_id)


async def give_up_pending(session: AsyncSession, endpoint_id: UUID) -> None:
    """Ends the pending deliveries to an endpoint."""
    await session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.FAILED, next_attempt_time=None, last_error="The endpoint was disabled.")
    )


async def list_progressing(session: AsyncSession, limit: int) -> Sequence[Row[UUID, UUID, UUID]]:
    """Returns endpoint, account and job of each running job whose progress an endpoint wants."""
    named = select(WebhookJob.job_id).where(
        WebhookJob.job_id == Job.job_id, WebhookJob.endpoint_id == WebhookEndpoint.endpoint_id
    )
    is_named: ColumnElement[bool] = or_(WebhookEndpoint.named_jobs_only.is_(False), named.exists())
    wants = (
        WebhookEndpoint.disabled.is_(False),
        literal(int(WebhookEvent.JOB_PROGRESS)) == any_(WebhookEndpoint.events),
    )
    # In two parts, so that each finds its endpoints by an index.
    registered, brought = (
        select(WebhookEndpoint.endpoint_id, WebhookEndpoint.account_id, Job.job_id)
        .join(Job, and_(Job.account_id == WebhookEndpoint.account_id, Job.state == JobState.RUNNING))
        .where(*wants, *which)
        for which in ((_IS_REGISTERED, is_named), (WebhookEndpoint.endpoint_id == Job.job_id,))
    )
    return (await session.execute(union_all(registered, brought).limit(limit))).all()


async def add_progress(session: AsyncSession, deliveries: Sequence[WebhookDelivery]) -> int:
    """Adds deliveries of progress; none of what was added before, nor while an earlier step of the job still waits."""
    if not deliveries:
        return 0
    names = ("delivery_id", "endpoint_id", "account_id", "event", "job_id", "event_id", "progress")
    values = [
        {
            **{name: getattr(each, name) for name in names},
            "create_time": each.create_time,
            "next_attempt_time": each.next_attempt_time,
        }
        for each in deliveries
    ]
    statement = insert(WebhookDelivery).values(values).on_conflict_do_nothing().returning(WebhookDelivery.delivery_id)
    return len((await session.execute(statement)).all())


async def add_account_event(
    session: AsyncSession, *, event: WebhookEvent, event_id: UUID, account_id: UUID, content: bytes, now: datetime
) -> int:
    """Adds an event of no job for each endpoint that wants it; returns how many. A delivery's id follows from the event's.

    Whether an endpoint is for named jobs only makes no difference.
    """
    wanting = (
        select(WebhookEndpoint.endpoint_id)
        .where(
            WebhookEndpoint.account_id == account_id,
            _IS_REGISTERED,
            WebhookEndpoint.disabled.is_(False),
            literal(int(event)) == any_(WebhookEndpoint.events),
        )
        # One that is being deleted is left out, where the foreign key would make the whole call fail.
        .with_for_update(key_share=True, read=True)
    )
    values = [
        {
            "delivery_id": uuid5(event_id, str(endpoint_id)),
            "endpoint_id": endpoint_id,
            "account_id": account_id,
            "event": event,
            "content": content,
            "create_time": now,
            "next_attempt_time": now,
        }
        for endpoint_id in (await session.scalars(wanting)).all()
    ]
    if not values:
        return 0
    statement = insert(WebhookDelivery).values(values).on_conflict_do_nothing().returning(WebhookDelivery.delivery_id)
    return len((await session.execute(statement)).all())


async def delete_old(session: AsyncSession, before: datetime, limit: int) -> int:
    """Deletes deliveries that ended, and names and addresses of endpoints in jobs, from before a time.

    Returns how many deliveries. A job's address stays while the job hasn't ended, and while there are deliveries to it.
    """
    old = (
        select(WebhookDelivery.delivery_id)
        .where(WebhookDelivery.create_time < before, WebhookDelivery.state != DeliveryState.PENDING)
        .limit(limit)
    )
    await session.execute(delete(WebhookJob).where(WebhookJob.create_time < before))
    delivery = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == WebhookEndpoint.endpoint_id)
    going = select(Job).where(Job.job_id == WebhookEndpoint.endpoint_id, Job.state < JobState.COMPLETED)
    unused = (
        select(WebhookEndpoint.endpoint_id)
        .where(WebhookEndpoint.of_job, WebhookEndpoint.create_time < before, ~delivery.exists(), ~going.exists())
        .limit(limit)
    )
    await session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.endpoint_id.in_(unused)))
    statement = (
        delete(WebhookDelivery).where(WebhookDelivery.delivery_id.in_(old)).returning(WebhookDelivery.delivery_id)
    )
    return len((await session.execute(statement)).all())
