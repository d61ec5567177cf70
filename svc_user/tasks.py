"""Owns what svc_user does without being called: clearing away sessions that are over."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from svc_common.db import Database
from svc_common.sweeps import Sweep
from svc_user.store import queries

_INTERVAL: Final = timedelta(hours=1)
# Each session takes its used tokens along, up to one for every ten minutes of its life: small batches, short locks.
_SESSIONS_A_BATCH: Final = 100


def sweeps(tasks_database: Database, clock: Callable[[], datetime]) -> list[Sweep]:
    """Returns the sweeps to run on the database under the tasks role."""

    async def clear_expired_sessions() -> int:
        return await delete_expired_sessions(tasks_database, clock())

    return [Sweep("user.expired_sessions", _INTERVAL, clear_expired_sessions)]


async def delete_expired_sessions(
    tasks_database: Database, now: datetime, *, sessions_a_batch: int = _SESSIONS_A_BATCH
) -> int:
    """Deletes all sessions that expired before `now`, a batch a transaction, and tells how many."""
    deleted = 0
    while True:
        async with tasks_database.transaction() as transaction:
            batch = await queries.delete_expired_sessions(transaction, now, sessions_a_batch)
        deleted += batch
        if batch < sessions_a_batch:
            return deleted
