"""Owns what svc_user does without being called: clearing away what is old, granting what is due, and making copies."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_common.sweeps import Sweep
from svc_user.store import queries
from svc_user.store.email_changes import delete_expired_former_emails
from svc_user.usecases import AccountExporter, Erasure, WelcomeCredits

_log: Final = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(hours=1)
# Somebody waits for these credits who wasn't given them at once.
_WELCOME_INTERVAL: Final = timedelta(seconds=10)
# Jobs that still run are stopped first, and asked for again then.
_ERASURE_INTERVAL: Final = timedelta(seconds=10)
_EXPORT_INTERVAL: Final = timedelta(minutes=1)
_LOOK_SECONDS: Final = 1.0
"""How soon a copy that is asked for is begun."""
# Each session takes its used tokens along, up to one for every ten minutes of its life: small batches, short locks.
_SESSIONS_A_BATCH: Final = 100
_LINK_TOKENS_A_BATCH: Final = 1000


def sweeps(
    tasks_database: Database,
    welcome: WelcomeCredits,
    erasure: Erasure,
    exporter: AccountExporter,
    clock: Callable[[], datetime],
) -> list[Sweep]:
    """Returns the sweeps to run on the database under the tasks role."""

    async def clear_expired_sessions() -> int:
        return await delete_expired_sessions(tasks_database, clock())

    async def clear_expired_link_tokens() -> int:
        return await delete_expired_link_tokens(tasks_database, clock())

    async def clear_former_emails() -> int:
        return await _in_batches(tasks_database, delete_expired_former_emails, clock(), _LINK_TOKENS_A_BATCH)

    return [
        Sweep("user.former_emails", _INTERVAL, clear_former_emails),
        Sweep("user.expired_sessions", _INTERVAL, clear_expired_sessions),
        Sweep("user.expired_links", _INTERVAL, clear_expired_link_tokens),
        Sweep("user.due_welcomes", _WELCOME_INTERVAL, welcome.grant_due),
        Sweep("user.due_erasures", _ERASURE_INTERVAL, erasure.erase_due),
        Sweep("user.expired_exports", _EXPORT_INTERVAL, exporter.delete_expired),
    ]


async def make_exports(exporter: AccountExporter) -> None:
    """Makes copies of accounts until it is cancelled; one that is being made then is taken up when its lease is over."""
    while True:
        try:
            made_one = await exporter.make_next()
        except Exception as error:  # noqa: BLE001 - one copy that fails must not keep the others waiting
            _log.error("account_export.failed", exc_info=error)
            made_one = False
        if not made_one:
            await asyncio.sleep(_LOOK_SECONDS)


async def delete_expired_sessions(
    tasks_database: Database, now: datetime, *, sessions_a_batch: int = _SESSIONS_A_BATCH
) -> int:
    """Deletes all sessions that expired before `now`, a batch a transaction, and tells how many."""
    return await _in_batches(tasks_database, queries.delete_expired_sessions, now, sessions_a_batch)


async def delete_expired_link_tokens(
    tasks_database: Database, now: datetime, *, tokens_a_batch: int = _LINK_TOKENS_A_BATCH
) -> int:
    """Deletes the tokens of all links that expired before `now`, a batch a transaction, and tells how many."""
    return await _in_batches(tasks_database, queries.delete_expired_link_tokens, now, tokens_a_batch)


async def _in_batches(
    tasks_database: Database,
    delete: Callable[[AsyncSession, datetime, int], Awaitable[int]],
    now: datetime,
    rows_a_batch: int,
) -> int:
    deleted = 0
    while True:
        async with tasks_database.transaction() as transaction:
            batch = await delete(transaction, now, rows_a_batch)
        deleted += batch
        if batch < rows_a_batch:
            return deleted
