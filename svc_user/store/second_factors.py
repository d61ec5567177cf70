"""Owns the statements on second factors and recovery codes."""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_user.store.models import RecoveryCode, SecondFactor
from svc_user.store.queries import count_changed


async def find_factor(session: AsyncSession, user_id: UUID) -> SecondFactor | None:
    """Returns the factor of a user, confirmed or not."""
    return await session.get(SecondFactor, user_id)


async def is_on(session: AsyncSession, user_id: UUID) -> bool:
    """Tells whether a user has a confirmed factor."""
    is_confirmed = (SecondFactor.user_id == user_id) & SecondFactor.confirm_time.is_not(None)
    return await session.scalar(select(SecondFactor.user_id).where(is_confirmed)) is not None


async def having_one(session: AsyncSession, user_ids: Collection[UUID]) -> frozenset[UUID]:
    """Returns those of some users who have a confirmed factor."""
    is_confirmed = SecondFactor.user_id.in_(user_ids) & SecondFactor.confirm_time.is_not(None)
    return frozenset((await session.scalars(select(SecondFactor.user_id).where(is_confirmed))).all())


async def begin_factor(session: AsyncSession, factor: SecondFactor) -> bool:
    """Stores a factor that isn't confirmed, in place of another such one; tells whether none was confirmed."""
    values = {
        "user_id": factor.user_id,
        "account_id": factor.account_id,
        "sealed_secret": factor.sealed_secret,
        "create_time": factor.create_time,
    }
    statement = insert(SecondFactor).values(values)
    changed = {"sealed_secret": factor.sealed_secret, "create_time": factor.create_time}
    statement = statement.on_conflict_do_update(
        index_elements=[SecondFactor.user_id], set_=changed, where=SecondFactor.confirm_time.is_(None)
    )
    return await count_changed(session, statement) == 1


async def confirm_factor(session: AsyncSession, user_id: UUID, now: datetime) -> bool:
    """Makes a factor count, and tells whether it didn't before."""
    is_new = (SecondFactor.user_id == user_id) & SecondFactor.confirm_time.is_(None)
    return await count_changed(session, update(SecondFactor).where(is_new).values(confirm_time=now)) == 1


async def use_step(session: AsyncSession, user_id: UUID, step: int) -> bool:
    """Uses up the code of a time step and all earlier ones; of two calls with one code, one is told that it may."""
    is_unused = (SecondFactor.user_id == user_id) & (SecondFactor.last_used_step < step)
    return await count_changed(session, update(SecondFactor).where(is_unused).values(last_used_step=step)) == 1


async def delete_factor(session: AsyncSession, user_id: UUID) -> bool:
    """Deletes a factor with its recovery codes, and tells whether there was one."""
    return await count_changed(session, delete(SecondFactor).where(SecondFactor.user_id == user_id)) == 1


async def replace_recovery_codes(
    session: AsyncSession, user_id: UUID, account_id: UUID, hashes: Iterable[bytes]
) -> None:
    """Stores recovery codes in place of all former ones."""
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    rows = [{"user_id": user_id, "account_id": account_id, "code_hash": code_hash} for code_hash in hashes]
    await session.execute(insert(RecoveryCode).values(rows))


async def use_recovery_code(session: AsyncSession, user_id: UUID, code_hash: bytes) -> bool:
    """Uses a recovery code up, and tells whether it was there; of two calls at once, one finds it."""
    is_the_one = (RecoveryCode.user_id == user_id) & (RecoveryCode.code_hash == code_hash)
    return await count_changed(session, delete(RecoveryCode).where(is_the_one)) == 1


async def count_recovery_codes(session: AsyncSession, user_id: UUID) -> int:
    """Returns how many recovery codes a user has left."""
    statement = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    return int(await session.scalar(statement) or 0)
