"""Watching a job to its end: a live bar with the picture as it grows, cancelling at Ctrl-C, and what came of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal

from pingvas.common.v1.error_reason_pb2 import ErrorReason
from pingvas.generation.v1.generation_service_pb2 import CancelJobRequest, GetJobRequest
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_event_pb2 import JobEvent, JobProgress, JobStage
from pingvas.generation.v1.job_pb2 import Job, JobState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from studio.cli.client import Client
from studio.cli.failures import CommandError, ExitCode
from studio.cli.picture import can_show, decode, half_blocks

_PREVIEW_COLUMNS = 32
_REFRESHES_PER_SECOND = 12
_LINE_EVERY_PERCENT = 25
Show = Callable[[JobEvent], None]


def watch_to_end(client: Client, job_id: str, show: Show) -> Job:
    """Shows each event of a job and returns the job as it ended.

    Ctrl-C asks the server to cancel the job, whose end is then waited for. Raises CommandError when the job failed, and
    when it was cancelled with Ctrl-C.
    """
    generation = GenerationServiceStub(client.channel)
    watch = _Watch(client, job_id, show)
    interrupted = False
    try:
        watch.to_end()
    except KeyboardInterrupt:
        interrupted = True
        # A job that has ended meanwhile can't be cancelled; whatever else is wrong, the watch will find out too.
        with suppress(CommandError):
            client.call(generation.CancelJob, CancelJobRequest(job_id=job_id))
        watch.to_end()
    job: Job = client.call(generation.GetJob, GetJobRequest(job_id=job_id))
    if interrupted and job.state == JobState.JOB_STATE_CANCELLED:
        used = job.credits_used or "0"
        advice = f"It used {used} of the {job.credits_held} credits that were held."
        raise CommandError(f"the job {job_id} was cancelled", advice=advice, exit_code=ExitCode.INTERRUPTED)
    if job.state == JobState.JOB_STATE_FAILED:
        reason = ErrorReason.Name(job.failure.reason).removeprefix("ERROR_REASON_")
        raise CommandError(f"the job failed ({reason}): {job.failure.message}", advice="Nothing was charged for it.")
    return job


@contextmanager
def live_bar(console: Console) -> Iterator[Show]:
    """Yields what shows events as a live bar with percent, seconds left and the growing picture."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    bar = _Bar(console)
    with Live(get_renderable=bar.render, console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True):
        yield bar.show


def state_name(state: JobState.ValueType) -> str:
    """Returns a state as people read it."""
    return JobState.Name(state).removeprefix("JOB_STATE_").lower()


def credits_used(job: Job) -> Decimal:
    """Returns what a job has cost, in credits."""
    return Decimal(job.credits_used or "0")


@dataclass(slots=True)
class _Watch:
    """One job's events, which can be interrupted and taken up again where they were."""

    client: Client
    job_id: str
    show: Show
    after: str = ""

    def to_end(self) -> None:
        for event in self.client.watch(self.job_id, after=self.after):
            self.after = event.event_id or self.after
            self.show(event)


class _Lines:
    """Progress for a file or a pipe: a line for each quarter of the way, and for what else happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_percent = _LINE_EVERY_PERCENT

    def show(self, event: JobEvent) -> None:
        """Takes up an event."""
        detail = event.WhichOneof("detail")
        if detail == "progress":
            if event.progress.step_count:
                self._progressed(event.progress.percent)
        elif detail not in {None, "heartbeat"}:
            self._console.print(f"  {detail}")

    def _progressed(self, percent: int) -> None:
        if percent >= self._next_percent:
            self._console.print(f"  {percent} %")
            self._next_percent = percent - percent % _LINE_EVERY_PERCENT + _LINE_EVERY_PERCENT


class _Bar:
    """The live picture of one job."""

    def __init__(self, console: Console) -> None:
        self._shows_pictures = can_show(console)
        self._preview: RenderableType | None = None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]}"),
        )
        self._progress = Progress(*columns, console=console, auto_refresh=False)
        self._task: TaskID = self._progress.add_task("accepted", total=100, left="")

    def render(self) -> RenderableType:
        """Returns what to draw now."""
        return Group(self._progress, self._preview) if self._preview else self._progress

    def show(self, event: JobEvent) -> None:
        """Takes up an event."""
        match event.WhichOneof("detail"):
            case "queued":
                self._queued(event)
            case "started":
                again = f" (attempt {event.started.attempt})" if event.started.attempt > 1 else ""
                self._progress.update(self._task, description=f"started{again}", completed=0)
            case "progress":
                self._progressed(event)
            case "completed":
                self._progress.update(self._task, description="completed", completed=100, left="")
            case _:
                pass

    def _queued(self, event: JobEvent) -> None:
        ahead = event.queued.position
        line = "next in line" if ahead == 0 else f"{ahead} ahead"
        wait = f"starts in about {event.queued.estimated_wait_seconds:.0f} s"
        if event.queued.is_tier_paused:
            wait = "the operator has paused your tier"
        self._progress.update(self._task, description=f"waiting, {line}", left=wait)

    def _progressed(self, event: JobEvent) -> None:
        progress = event.progress
        left = f"{progress.seconds_left:.1f} s left" if progress.step_count else ""
        self._progress.update(self._task, description=_doing(progress), completed=progress.percent, left=left)
        if progress.preview_jpeg and self._shows_pictures:
            self._preview = half_blocks(decode(progress.preview_jpeg), columns=_PREVIEW_COLUMNS)


def _doing(progress: JobProgress) -> str:
    match progress.stage:
        case JobStage.JOB_STAGE_FETCHING_MODEL:
            megabytes = (count / 1e6 for count in (progress.fetched_bytes, progress.fetch_size_bytes))
            return "fetching the model, {:.0f} of {:.0f} MB".format(*megabytes)
        case JobStage.JOB_STAGE_LOADING_MODEL:
            return "loading the model"
        case _:
            return f"step {progress.step} of {progress.step_count}"
