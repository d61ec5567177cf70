"""Serves UsageService: what the caller's jobs have used."""

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Final

from pingvas.generation.v1 import usage_service_pb2, usage_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_generation.store.usage import DayUsage, usage_by_day

_USUAL_DAYS: Final = 30


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Implements pingvas.generation.v1.UsageService."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        """Takes the database under the requests role."""
        self._database = database
        self._now = now

    async def GetMyUsage(
        self, request: usage_service_pb2.GetMyUsageRequest, _context: object
    ) -> usage_service_pb2.Usage:
        """Adds up what the caller's jobs have used in the last days."""
        account_id, offset, now = current_account(), timedelta(minutes=request.utc_offset_minutes), self._now()
        last_day = (now + offset).date()
        first_day = last_day - timedelta(days=(request.day_count or _USUAL_DAYS) - 1)
        since = datetime.combine(first_day, time(), now.tzinfo) - offset
        async with self._database.transaction(account_id) as session:
            found = await usage_by_day(session, account_id, since, offset)
        return usage_service_pb2.Usage(
            first_day=first_day.isoformat(),
            last_day=last_day.isoformat(),
            credits=format_credits(sum(each.millicredits for each in found)),
            job_count=sum(each.job_count for each in found),
            image_count=sum(each.image_count for each in found),
            models=map(_model_usage, found),
        )


def _model_usage(usage: DayUsage) -> usage_service_pb2.ModelUsage:
    return usage_service_pb2.ModelUsage(
        day=usage.day.isoformat(),
        model_id=usage.model_id,
        credits=format_credits(usage.millicredits),
        job_count=usage.job_count,
        image_count=usage.image_count,
    )
