"""The job queue: what services and workers import. `queue` says how it works, `policy` what may be tuned."""

from svc_common.queue.payload import FUNCTION_NAME
from svc_common.queue.policy import DEFAULT_TIERS, QueuePolicy, TierPolicy
from svc_common.queue.presence import WorkerPresence, WorkerReport
from svc_common.queue.queue import JobQueue
from svc_common.queue.values import Claim, LeaseState, QueuedJob, TierDepth

__all__ = [
    "DEFAULT_TIERS",
    "FUNCTION_NAME",
    "Claim",
    "JobQueue",
    "LeaseState",
    "QueuePolicy",
    "QueuedJob",
    "TierDepth",
    "TierPolicy",
    "WorkerPresence",
    "WorkerReport",
]
