"""Asks the providers what has changed and applies it, in case their reports were lost, and makes the moves that are due.

What is listed goes the way of reports, where a repetition changes nothing, so a round may begin as early as one likes.
What fails holds up nothing else of its round; the round fails with it at its end.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from svc_payment.providers.interface import ChangeTime, Provider, Report
from svc_payment.store import billing as store
from svc_payment.store import inbox, models
from svc_payment.usecases.applying import AccountUnknownError, Billing

# A provider that couldn't be asked for two days is caught up with in the next round.
LOOK_BACK: Final = timedelta(hours=48)
# Near enough that nothing else happens in between, early enough for a provider that is away for a while.
_MOVE_BEFORE: Final = timedelta(hours=1)
# Reports name people. What was made of them is kept elsewhere.
_REPORTS_KEPT: Final = timedelta(days=30)
_ROUND_LIMIT: Final = 100
_LISTING_SECONDS: Final = 5.0

_log: Final = structlog.get_logger("billing")


class Listings:
    """What the providers list as changed, read at most once in five seconds however many people ask.

    A provider limits its calls, and a listing of many pages takes several.
    """

    def __init__(
        self, billing: Billing, *, now: Callable[[], datetime], lifetime_seconds: float = _LISTING_SECONDS
    ) -> None:
        """Takes the clock that providers' times are compared with."""
        self._billing = billing
        self._now = now
        self._lifetime_seconds = lifetime_seconds
        self._lock = asyncio.Lock()
        self._read: dict[str, tuple[float, Sequence[Report]]] = {}

    async def of(self, provider: Provider) -> Sequence[Report]:
        """Returns what changed at a provider in the last two days."""
        async with self._lock:
            at, reports = self._read.get(provider.name, (0.0, ()))
            if time.monotonic() - at < self._lifetime_seconds and at:
                return reports
            reports = await self._billing.listed(provider, self._now() - LOOK_BACK)
            self._read[provider.name] = (time.monotonic(), reports)
            return reports


class Reconciliation:
    """What is done beside the reports."""

    def __init__(self, billing: Billing, *, now: Callable[[], datetime]) -> None:
        """Takes what applies reports."""
        self._billing = billing
        self._now = now

    async def catch_up(self) -> int:
        """Applies what every provider lists as changed in the last two days; returns how much that was."""
        applied, failures = 0, list[Exception]()
        for provider in self._billing.providers.values():
            try:
                reports = await self._billing.listed(provider, self._now() - LOOK_BACK)
            except Exception as error:  # noqa: BLE001 - the other providers are asked all the same
                failures.append(error)
                continue
            for report in reports:
                try:
                    applied += await self._apply(provider, report)
                except Exception as error:  # noqa: BLE001 - the others are applied all the same
                    failures.append(error)
        _raise_all(failures)
        return applied

    async def make_moves(self) -> int:
        """Moves the subscriptions that are about to be renewed to the smaller plans that were chosen for then.

        Each is looked up first: one that has just been renewed has another month before it moves.
        """
        failures = list[Exception]()
        for row in await self._due_moves():
            provider = self._billing.providers[row.provider]
            try:
                await self._billing.call(provider, provider.fetch, row.subscription_id)
            except Exception as error:  # noqa: BLE001 - the others are moved all the same
                failures.append(error)
        due = await self._due_moves()
        for row in due:
            provider = self._billing.providers[row.provider]
            plan_id = row.next_plan_id or ""
            try:
                await self._billing.call(
                    provider, provider.change_plan, row.subscription_id, plan_id, ChangeTime.AT_RENEWAL
                )
            except Exception as error:  # noqa: BLE001 - the others are moved all the same
                failures.append(error)
        _raise_all(failures)
        return len(due)

    async def _due_moves(self) -> list[models.Subscription]:
        unable = [name for name, each in self._billing.providers.items() if not each.capabilities.moves_at_renewal]
        async with self._billing.database.transaction() as session:
            return await store.due_moves(session, unable, self._now() + _MOVE_BEFORE, limit=_ROUND_LIMIT)

    async def forget_reports(self) -> int:
        """Deletes the reports that were applied or ignored a month ago; returns how many, at most 100."""
        async with self._billing.database.transaction() as session:
            return await inbox.forget(session, age=_REPORTS_KEPT, limit=_ROUND_LIMIT)

    async def _apply(self, provider: Provider, report: Report) -> int:
        try:
            await self._billing.apply_now(provider, report)
        except AccountUnknownError as error:
            # Of somebody who paid without a checkout of ours, or whose every report was lost at a provider that lists no
            # references. A person has to look at it.
            _log.warning("billing.unmatched", provider=provider.name, error=str(error))
            return 0
        return int(report.event is not None)


def _raise_all(failures: list[Exception]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("several parts of the round failed", failures)
