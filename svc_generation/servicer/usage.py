"""Serves UsageService: what the caller's jobs have used."""

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Final

from pingvas.generation.v1 import usage_service_pb2, usage_service_pb2_grpc
from pingvas.models.v1 import model_pb2

from svc_common.caller import current_account
from svc_common.credits import format_credits
from svc_common.db import Database
from svc_generation.store.usage import DayUsage, KindUsage, usage_by_day, usage_by_kind, waits

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
            kinds = await usage_by_kind(session, account_id, since)
            waited = await waits(session, account_id, since)
        return usage_service_pb2.Usage(
            first_day=first_day.isoformat(),
            last_day=last_day.isoformat(),
            credits=format_credits(sum(each.millicredits for each in found)),
            job_count=sum(each.job_count for each in found),
            image_count=sum(each.image_count for each in found),
            models=map(_model_usage, found),
            operations=map(_operation_usage, kinds),
            completed_count=sum(each.completed_count for each in kinds),
            failed_count=sum(each.failed_count for each in kinds),
            cancelled_count=sum(each.cancelled_count for each in kinds),
            median_wait_seconds=_seconds(waited.median),
            p90_wait_seconds=_seconds(waited.p90),
        )


def _model_usage(usage: DayUsage) -> usage_service_pb2.ModelUsage:
    return usage_service_pb2.ModelUsage(
        day=usage.day.isoformat(),
        model_id=usage.model_id,
        credits=format_credits(usage.millicredits),
        job_count=usage.job_count,
        image_count=usage.image_count,
    )


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()


def _operation_usage(usage: KindUsage) -> usage_service_pb2.OperationUsage:
    return usage_service_pb2.OperationUsage(
        operation=model_pb2.Operation.Value(f"OPERATION_{usage.operation_kind.upper()}"),
        credits=format_credits(usage.millicredits),
        job_count=usage.job_count,
        image_count=usage.image_count,
    )
