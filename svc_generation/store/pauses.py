"""The pauses of tiers, over the tasks' database."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_common.statements import Statement
from svc_generation.domain.pauses import Pauses
from svc_generation.domain.pauses import TierPause as Pause
from svc_generation.store.models import TierPause

_ALL = Statement(select(TierPause.tier, TierPause.pause_time, TierPause.resume_time, TierPause.reason))


async def read(database: Database) -> Pauses:
    """Returns the latest pauses, in one round trip."""
    rows = await database.call(_ALL, {})
    return Pauses.of(Pause(**dict(row.items())) for row in rows)


async def pause(session: AsyncSession, tier: int, *, reason: str, by: UUID, now: datetime) -> bool:
    """Pauses a tier and returns True; of one that is paused only the reason and who gave it change."""
    values: dict[str, Any] = {"reason": reason, "paused_by": by, "pause_time": now, "resume_time": None}
    anew = (
        insert(TierPause)
        .values(tier=tier, **values)
        .on_conflict_do_update(index_elements=["tier"], set_=values, where=TierPause.resume_time.is_not(None))
        .returning(TierPause.tier)
    )
    if (await session.execute(anew)).scalar_one_or_none() is not None:
        return True
    again = update(TierPause).where(TierPause.tier == tier).values(reason=reason, paused_by=by)
    await session.execute(again)
    return False


async def resume(session: AsyncSession, tier: int, now: datetime) -> bool:
    """Ends the pause of a tier and returns True; False for a tier that isn't paused."""
    ended = (
        update(TierPause)
        .where(TierPause.tier == tier, TierPause.resume_time.is_(None))
        # Another server's clock may be ahead of this one's.
        .values(resume_time=func.greatest(TierPause.pause_time, literal(now)))
        .returning(TierPause.tier)
    )
    return (await session.execute(ended)).scalar_one_or_none() is not None
