"""Finds the user who makes the present call."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.errors import Reason, ServiceError
from svc_user.store import queries
from svc_user.store.models import User


async def get_caller(transaction: AsyncSession, user_id: UUID, *, is_locked: bool = False) -> User:
    """Returns the caller's row, which nobody else changes then if it is locked. Raises USER_NOT_FOUND."""
    find = queries.lock_user if is_locked else queries.get_user
    user = await find(transaction, user_id)
    if user is None:
        # An access token outlives its user by ten minutes at most.
        raise user_gone(user_id)
    return user


def user_gone(user_id: UUID) -> ServiceError:
    """Returns the refusal of a user who is there no more."""
    message = "Your account doesn't exist any more; register again."
    return ServiceError(Reason.USER_NOT_FOUND, message, metadata={"user_id": str(user_id)})
