"""`pingvas jobs`: what was asked for, and how far it is."""

import json

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from pingvas.generation.v1.generation_service_pb2 import (
    CancelJobRequest,
    ClearQueueRequest,
    GetJobRequest,
    ListJobsRequest,
)
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_pb2 import Job
from pingvas_sdk.operations import operation_of

from studio.cli import watching
from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.operations import partial_lora_lines, recipe_line
from studio.cli.picture import picture_console


@click.group()
def jobs() -> None:
    """Look at your jobs, watch them, and cancel one or all of them."""


@jobs.command("list")
@shared_options
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many, newest first.")
@json_option
@pass_shared
def list_jobs(shared: Shared, limit: int, as_json: bool) -> None:
    """List your jobs, newest first."""
    with connect(shared) as client:
        page = client.call(GenerationServiceStub(client.channel).ListJobs, ListJobsRequest(page_size=limit))
    if as_json:
        _print_json(page)
        return
    if not page.jobs:
        click.echo('No jobs yet. Make one: pingvas generate "the sea at sunset"')
    for job in page.jobs:
        made, state = job.create_time.ToDatetime(), watching.state_name(job.state)
        cost = job.credits_used or job.credits_held
        operation = operation_of(job)
        title = operation.prompt or recipe_line(operation)
        click.echo(f"{job.job_id}  {made:%Y-%m-%d %H:%M}  {state:<10} {cost:>10}  {title[:60]}")


@jobs.command()
@shared_options
@click.argument("job_id")
@json_option
@pass_shared
def show(shared: Shared, job_id: str, as_json: bool) -> None:
    """Show one job."""
    with connect(shared) as client:
        job = client.call(GenerationServiceStub(client.channel).GetJob, GetJobRequest(job_id=job_id))
    _present(job, as_json=as_json)


@jobs.command()
@shared_options
@click.argument("job_id")
@json_option
@pass_shared
def watch(shared: Shared, job_id: str, as_json: bool) -> None:
    """Watch a job to its end. Ctrl-C cancels it."""
    console = picture_console(quiet=as_json)
    with connect(shared) as client, watching.live_bar(console) as show_event:
        job = watching.watch_to_end(client, job_id, show_event)
    _present(job, as_json=as_json)


@jobs.command()
@shared_options
@click.argument("job_id")
@json_option
@pass_shared
def cancel(shared: Shared, job_id: str, as_json: bool) -> None:
    """Cancel a job. A waiting one costs nothing; a running one costs what has run."""
    with connect(shared) as client:
        job = client.call(GenerationServiceStub(client.channel).CancelJob, CancelJobRequest(job_id=job_id))
    _present(job, as_json=as_json)


@jobs.command()
@shared_options
@click.option("--running", "includes_running", is_flag=True, help="Cancel the running ones too.")
@json_option
@pass_shared
def clear(shared: Shared, includes_running: bool, as_json: bool) -> None:
    """Cancel all of your waiting jobs, which costs nothing. A running one costs what has run."""
    cancelled = stopping = 0
    with connect(shared) as client:
        generation = GenerationServiceStub(client.channel)
        while True:
            answer = client.call(generation.ClearQueue, ClearQueueRequest(includes_running=includes_running))
            cancelled += answer.cancelled_count
            stopping += answer.stopping_count
            if not answer.remaining_count:
                break
    if as_json:
        click.echo(json.dumps({"cancelled_count": cancelled, "stopping_count": stopping}))
        return
    click.echo(f"Cancelled {_counted(cancelled)} that waited.")
    if includes_running:
        click.echo(f"Told {_counted(stopping)} to stop; `pingvas jobs list` shows how they ended.")


def _counted(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _present(job: Job, *, as_json: bool) -> None:
    if as_json:
        _print_json(job)
        return
    operation = operation_of(job)
    click.echo(f"job      {job.job_id}")
    click.echo(f"state    {watching.state_name(job.state)}, attempt {job.attempt}")
    click.echo(f"prompt   {operation.prompt}")
    click.echo(f"recipe   {recipe_line(operation)}")
    click.echo(f"credits  {job.credits_used or '-'} used, {job.credits_held} held")
    if job.failure.message:
        click.echo(f"failure  {job.failure.message}")
    for image in job.images:
        click.echo(f"picture  {image.url}")
    for line in partial_lora_lines(job):
        click.echo(f"LoRA     {line}")


def _print_json(message: Message) -> None:
    click.echo(json.dumps(MessageToDict(message, preserving_proto_field_name=True), indent=2))
