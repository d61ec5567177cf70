"""Deletes what there is of an account, for the tasks role."""

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from svc_generation.domain.states import JobState
from svc_generation.store.models import AccountCounter, Attempt, Job, KeySpending, WebhookEndpoint, WebhookSecret


async def delete_ended_jobs(session: AsyncSession, account_id: UUID, limit: int) -> int:
    """Deletes at most `limit` jobs that have ended, with their attempts and webhook addresses, and tells how many."""
    has_ended = (Job.account_id == account_id) & (Job.state >= JobState.COMPLETED)
    job_ids = (await session.scalars(select(Job.job_id).where(has_ended).limit(limit))).all()
    await session.execute(delete(Attempt).where(Attempt.job_id.in_(job_ids)))
    await session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.endpoint_id.in_(job_ids)))
    await session.execute(delete(Job).where(Job.job_id.in_(job_ids)))
    return len(job_ids)


async def has_jobs(session: AsyncSession, account_id: UUID) -> bool:
    """Returns whether an account has a job."""
    return await session.scalar(select(Job.job_id).where(Job.account_id == account_id).limit(1)) is not None


async def delete_counts(session: AsyncSession, account_id: UUID) -> None:
    """Deletes what is counted of an account that has no jobs, and its webhook endpoints with secrets and deliveries."""
    for table in (KeySpending, WebhookEndpoint, WebhookSecret, AccountCounter):
        await session.execute(delete(table).where(table.account_id == account_id))
