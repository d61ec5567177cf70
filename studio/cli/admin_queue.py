"""`pingvas admin queue|workers|drain|job|requeue|pause|resume`: what waits, who works, and what becomes of jobs.

What shows and drains acts by the operator's key; what the audit log is told of, as an administrator.
"""

from datetime import UTC, datetime

import click
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1.tier_pb2 import Tier
from pingvas.generation.v1.generation_admin_service_pb2 import PauseTierRequest, RequeueJobRequest, ResumeTierRequest
from pingvas.generation.v1.generation_admin_service_pb2_grpc import GenerationAdminServiceStub
from pingvas.generation.v1.job_pb2 import JobState
from pingvas.generation.v1.operator_service_pb2 import (
    DrainWorkerRequest,
    GetJobRecordRequest,
    GetQueueRequest,
    JobRecord,
    ListWorkersRequest,
    QueueTier,
    Worker,
)
from pingvas.generation.v1.operator_service_pb2_grpc import OperatorServiceStub

from studio.cli.administrator import TIERS, Administrator
from studio.cli.context import Shared, pass_shared, shared_options
from studio.cli.operator import CALL_SECONDS, Operator

_GIBIBYTE = 1 << 30
_PAGE = 200


@click.command()
@shared_options
@pass_shared
def queue(shared: Shared) -> None:
    """Show how much waits and runs, by tier."""
    with Operator(shared).calling("generation") as (channel, metadata):
        found = OperatorServiceStub(channel).GetQueue(GetQueueRequest(), timeout=CALL_SECONDS, metadata=metadata)
    click.echo(f"{'tier':<12} {'waiting':>8} {'running':>8} {'GPU seconds':>12} {'oldest waits':>13}")
    for tier in found.tiers:
        name = Tier.Name(tier.tier).removeprefix("TIER_").lower()
        oldest = f"{_age(tier.oldest_create_time):.0f} s" if tier.HasField("oldest_create_time") else "-"
        counts = f"{tier.waiting_count:>8} {tier.running_count:>8}"
        line = f"{name:<12} {counts} {tier.waiting_gpu_seconds:>12.1f} {oldest:>13}"
        click.echo(f"{line}  {_pause(tier)}" if tier.HasField("pause_time") else line)
    click.echo(f"{found.worker_count} workers")


@click.command()
@shared_options
@pass_shared
def workers(shared: Shared) -> None:
    """List the workers with their models, memory and jobs."""
    found: list[Worker] = []
    token = ""
    with Operator(shared).calling("generation") as (channel, metadata):
        while True:
            request = ListWorkersRequest(page_size=_PAGE, page_token=token)
            page = OperatorServiceStub(channel).ListWorkers(request, timeout=CALL_SECONDS, metadata=metadata)
            found.extend(page.workers)
            token = page.next_page_token
            if not token:
                break
    if not found:
        click.echo("No worker was heard of lately.")
    for worker in found:
        models = ", ".join(worker.loaded_model_ids) or "no model"
        memory = f", {worker.memory_used_bytes / _GIBIBYTE:.1f} of {worker.memory_bytes / _GIBIBYTE:.1f} GiB"
        doing = f"runs {', '.join(worker.job_ids)}" if worker.job_ids else f"idle, last {worker.last_job_id or 'none'}"
        since = f"{worker.start_time.ToDatetime():%Y-%m-%d %H:%M}"
        click.echo(f"{worker.worker_id}  since {since}  {models}{memory if worker.memory_bytes else ''}  {doing}")


@click.command()
@shared_options
@click.argument("worker_id")
@pass_shared
def drain(shared: Shared, worker_id: str) -> None:
    """Let a worker finish what it has, take nothing more, and end. It is started anew by whatever supervises it."""
    with Operator(shared).calling("generation") as (channel, metadata):
        request = DrainWorkerRequest(worker_id=worker_id)
        OperatorServiceStub(channel).DrainWorker(request, timeout=CALL_SECONDS, metadata=metadata)
    click.echo(f"{worker_id} takes no more jobs and ends when it has finished.")


@click.command()
@shared_options
@click.argument("job_id")
@pass_shared
def job(shared: Shared, job_id: str) -> None:
    """Show a job of anybody, with its attempts."""
    with Operator(shared).calling("generation") as (channel, metadata):
        request = GetJobRecordRequest(job_id=job_id)
        record = OperatorServiceStub(channel).GetJobRecord(request, timeout=CALL_SECONDS, metadata=metadata)
    for name, value in _lines(record):
        click.echo(f"{name:<10} {value}")
    for attempt in record.attempts:
        end = _time(attempt.end_time) if attempt.HasField("end_time") else ""
        click.echo(
            f"attempt {attempt.attempt:<2} {attempt.worker_id}  {attempt.outcome}  {_time(attempt.start_time)}  {end}"
        )


@click.command()
@shared_options
@click.argument("job_id")
@pass_shared
def requeue(shared: Shared, job_id: str) -> None:
    """Take a running job away from its worker and queue it again; drain the worker first, or it may get it again."""
    with Administrator(shared) as administrator:
        call = GenerationAdminServiceStub(administrator.client.channel).RequeueJob
        answer = administrator.client.call(call, RequeueJobRequest(job_id=job_id))
    if answer.is_requeued:
        click.echo(f"{job_id} was taken from {answer.worker_id} and waits again.")
    elif answer.state == JobState.JOB_STATE_QUEUED:
        click.echo(f"{job_id} waits already; nothing was changed.")
    else:
        click.echo(f"{job_id} was given to another worker meanwhile; nothing was changed.")


@click.command()
@shared_options
@click.argument("tier", type=click.Choice(TIERS))
@click.option("--reason", default="", help="Why, for other administrators and the audit log; 200 characters at most.")
@pass_shared
def pause(shared: Shared, tier: str, reason: str) -> None:
    """Let the jobs of a tier wait until it is resumed; those that run go on."""
    with Administrator(shared) as administrator:
        call = GenerationAdminServiceStub(administrator.client.channel).PauseTier
        answer = administrator.client.call(
            call, PauseTierRequest(tier=Tier.Value(f"TIER_{tier.upper()}"), reason=reason)
        )
    click.echo(f"The tier {tier} is paused: its jobs wait." if answer.is_changed else f"The tier {tier} was paused.")


@click.command()
@shared_options
@click.argument("tier", type=click.Choice(TIERS))
@pass_shared
def resume(shared: Shared, tier: str) -> None:
    """Let the jobs of a tier start again."""
    with Administrator(shared) as administrator:
        call = GenerationAdminServiceStub(administrator.client.channel).ResumeTier
        answer = administrator.client.call(call, ResumeTierRequest(tier=Tier.Value(f"TIER_{tier.upper()}")))
    click.echo(f"The tier {tier} goes on." if answer.is_changed else f"The tier {tier} wasn't paused.")


def _pause(tier: QueueTier) -> str:
    """Returns since when a tier is paused, and why."""
    since = f"paused since {_time(tier.pause_time)}"
    return f"{since}: {tier.pause_reason}" if tier.pause_reason else since


def _lines(record: JobRecord) -> list[tuple[str, str]]:
    """Returns what is known of a job, by name."""
    times = ("create_time", "queue_time", "start_time", "end_time", "deadline_time")
    credit = f"{record.credits_quoted} quoted, {record.credits_held} held"
    return [
        ("job", record.job_id),
        ("account", record.account_id),
        ("state", JobState.Name(record.state).removeprefix("JOB_STATE_").lower()),
        *([("failure", record.failure_reason)] if record.failure_reason else []),
        ("tier", Tier.Name(record.tier).removeprefix("TIER_").lower()),
        ("what", f"{record.operation} with {record.model_id}"),
        ("credits", f"{credit}, {record.credits_used} used" if record.credits_used else credit),
        *((name.removesuffix("_time"), _time(getattr(record, name))) for name in times if record.HasField(name)),  # type: ignore[arg-type]
    ]


def _time(moment: Timestamp) -> str:
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"


def _age(moment: Timestamp) -> float:
    """Returns how many seconds ago a moment was."""
    return (datetime.now(UTC) - moment.ToDatetime(UTC)).total_seconds()
