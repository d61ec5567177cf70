"""A running fleet as the end-to-end tests see it: the people who call it, its records, and what was armed against it.

People call through the edge, like anybody else. What a test reads from the database, Redis and the object store it reads
as an administrator, to compare what people were told with what is kept. What must always hold stands in `invariants`.
"""

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import grpc
import httpx
import redis
from google.rpc import status_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.user.v1 import auth_service_pb2
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub

from svc_common.errors import ServiceError
from svc_common.free_space import USUAL_MARKS, WaterMarks
from svc_common.registry import OPERATOR_NAME
from svc_common.status import STATUS_DETAILS_KEY, from_status
from svc_common.tokens import ServiceCredential
from tests.fakes.faulty_worker import FAULTS_DIR_VARIABLE, Accident, Faults, Moment
from tests.harness import Fleet

PASSWORD = "a password for tests"
CALL_SECONDS = 15.0
TOKEN_SECONDS = 480.0
"""How long an access token is used; it lives for ten minutes."""
TERMINAL = (job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
TERMINAL_DETAILS = frozenset({"completed", "failed", "cancelled"})
ENOUGH_CREDITS = 1_000_000

# A test's patience with something that takes far less on an idle machine.
PATIENCE_SECONDS = 30.0

_POLL_SECONDS = 0.03
_SIDE_PX = 64
_STEPS = 4
_emails = (f"person-{number}@example.com" for number in itertools.count(1))

T = TypeVar("T")
Job = job_pb2.Job
JobEvent = job_event_pb2.JobEvent


class Stage:
    """One fleet and whoever is on it."""

    def __init__(self, fleet: Fleet, faults: Faults) -> None:
        self.fleet = fleet
        self.faults = faults
        self.channel = grpc.insecure_channel(
            fleet.grpc, options=[("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
        )
        self.http = httpx.Client(base_url=fleet.http, timeout=CALL_SECONDS)

    def person(self, tier: str = "pro", *, has_credits: int = ENOUGH_CREDITS) -> "Person":
        """Registers somebody, puts their account on a tier, and gives them credits."""
        email = next(_emails)
        registration = auth_service_pb2.RegisterRequest(email=email, password=PASSWORD)
        user = AuthServiceStub(self.channel).Register(registration, timeout=CALL_SECONDS)
        if tier != "free":
            self.fleet.administrator.set_tier(user.account_id, tier)
        if has_credits:
            self.fleet.administrator.grant(user.account_id, has_credits * 1000)
        return Person(self, email, UUID(user.account_id))

    @contextmanager
    def busy_workers(self, count: int = 1) -> Iterator[None]:
        """Keeps that many workers busy while the block runs, so that whatever is queued meanwhile waits."""
        person = self.person("enterprise")
        jobs = [person.create("[[slow=0.1]] keeps a worker busy", step_count=150, image_count=8) for _ in range(count)]
        for job in jobs:
            person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
        yield
        for job in jobs:
            person.cancel(job.job_id)

    def rows(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        """Returns what a query finds, for the administrator of the database."""
        return self.administer(lambda connection: connection.fetch(statement, *values))

    def administer(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
        """Does something with a connection of the database's administrator."""
        # In a thread of its own, since the test's own may have an event loop that isn't ours to run.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, self._administer(work)).result()

    def value(self, statement: str, *values: object) -> Any:
        """Returns the only value that a query finds."""
        return self.rows(statement, *values)[0][0]

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Keeps everybody else out of a table while the block runs, so that whoever needs it waits."""
        held, release = threading.Event(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(asyncio.run, self._hold(table, held, release))
            try:
                assert held.wait(PATIENCE_SECONDS), f"the lock on {table} wasn't got"
                yield
            finally:
                release.set()
                holding.result()

    def objects(self) -> dict[str, Path]:
        """Returns every object of the bucket by its key, with the file in which the S3 server keeps it."""
        bucket = self.fleet.layout.s3 / "pingvas"
        return {str(file.relative_to(bucket)): file for file in bucket.rglob("*") if file.is_file()}

    def redis(self) -> redis.Redis:
        """Returns a client of the fleet's Redis."""
        return redis.Redis.from_url(self.fleet.redis_url, socket_timeout=5.0)

    def audit(self) -> Sequence[ledger_service_pb2.LedgerBreach]:
        """Returns the breaches that the ledger's own audit finds."""
        credential = ServiceCredential.from_file(OPERATOR_NAME, self.fleet.secrets.service_key(OPERATOR_NAME))
        metadata = (("authorization", f"Bearer {credential.token()}"),)
        with grpc.insecure_channel(self.fleet.internal_address("payment")) as channel:
            audit = LedgerServiceStub(channel).AuditLedger
            answer = audit(ledger_service_pb2.AuditLedgerRequest(), timeout=CALL_SECONDS, metadata=metadata)
        return answer.breaches

    def strike(self, moment: Moment) -> None:
        """Waits until the accident that was armed for a moment has happened."""
        until(lambda: self.faults.has_happened(moment), f"the accident of {moment}")

    def worker_of(self, job_id: str) -> str:
        """Returns the name of the worker that runs a job, or has run it last."""
        return str(self.value("SELECT worker_id FROM generation.jobs WHERE job_id = $1", UUID(job_id)))

    def freeze(self, process: str) -> None:
        """Makes a process stand still."""
        self.fleet.kill(process, signal.SIGSTOP)

    def thaw(self, process: str) -> None:
        """Lets a frozen process go on."""
        self.fleet.kill(process, signal.SIGCONT)

    def close(self) -> None:
        """Closes the connections."""
        self.channel.close()
        self.http.close()

    async def _administer(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
        connection = await asyncpg.connect(self.fleet.admin_database_url, timeout=CALL_SECONDS)
        try:
            return await work(connection)
        finally:
            await connection.close()

    async def _hold(self, table: str, held: threading.Event, release: threading.Event) -> None:
        connection = await asyncpg.connect(self.fleet.admin_database_url, timeout=CALL_SECONDS)
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                held.set()
                release.wait()
        finally:
            await connection.close()


class Person:
    """Somebody with an account, who calls by gRPC through the edge."""

    def __init__(self, stage: Stage, email: str, account_id: UUID) -> None:
        self.stage = stage
        self.email = email
        self.account_id = account_id
        self.generation = GenerationServiceStub(stage.channel)
        self.gallery = GalleryServiceStub(stage.channel)
        self.credits = CreditServiceStub(stage.channel)
        self._token = ""
        self._token_from = 0.0

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata, or headers, of this person's calls."""
        if not self._token or time.monotonic() - self._token_from > TOKEN_SECONDS:
            login = auth_service_pb2.LoginRequest(email=self.email, password=PASSWORD)
            self._token = AuthServiceStub(self.stage.channel).Login(login, timeout=CALL_SECONDS).access_token
            self._token_from = time.monotonic()
        return (("authorization", f"Bearer {self._token}"),)

    def create(self, prompt: str, *, request_id: str = "", **fields: Any) -> Job:
        """Submits a job; a small picture of few steps unless `fields` say otherwise."""
        request = create_request(prompt, request_id=request_id, **fields)
        return self.generation.CreateJob(request, timeout=CALL_SECONDS, metadata=self.metadata)

    def begin_creating(
        self, requests: Sequence[generation_service_pb2.CreateJobRequest], *, within_seconds: float = 4 * CALL_SECONDS
    ) -> "list[grpc.Future[Job]]":
        """Submits jobs in parallel and returns what their answers will be in, in the same order."""
        metadata = self.metadata
        return [
            self.generation.CreateJob.future(request, timeout=within_seconds, metadata=metadata) for request in requests
        ]

    def create_at_once(self, requests: Sequence[generation_service_pb2.CreateJobRequest]) -> list[Job | ServiceError]:
        """Submits jobs in parallel and returns their answers or refusals, in the same order."""
        return [answer_or_refusal(call.result) for call in self.begin_creating(requests)]

    def get(self, job_id: str) -> Job:
        """Returns a job."""
        request = generation_service_pb2.GetJobRequest(job_id=job_id)
        return self.generation.GetJob(request, timeout=CALL_SECONDS, metadata=self.metadata)

    def cancel(self, job_id: str) -> Job:
        """Cancels a job."""
        request = generation_service_pb2.CancelJobRequest(job_id=job_id)
        return self.generation.CancelJob(request, timeout=CALL_SECONDS, metadata=self.metadata)

    def watch(self, job_id: str, after: str = "", *, within_seconds: float = 2 * PATIENCE_SECONDS) -> "Stream":
        """Opens the stream of a job's events."""
        request = generation_service_pb2.WatchJobRequest(job_id=job_id, after=after)
        return Stream(self.generation.WatchJob(request, timeout=within_seconds, metadata=self.metadata))

    def watch_all(self, after: str = "", *, within_seconds: float = 2 * PATIENCE_SECONDS) -> "Stream":
        """Opens the stream of the events of all jobs."""
        request = generation_service_pb2.WatchJobsRequest(after=after)
        return Stream(self.generation.WatchJobs(request, timeout=within_seconds, metadata=self.metadata))

    def balance(self) -> credit_service_pb2.Balance:
        """Returns the balance."""
        request = credit_service_pb2.GetBalanceRequest()
        return self.credits.GetBalance(request, timeout=CALL_SECONDS, metadata=self.metadata)

    def end_of(self, job_id: str, *, within_seconds: float = PATIENCE_SECONDS) -> Job:
        """Waits until a job has ended and returns it; a platform that is away for a moment is asked again."""
        return self._when(job_id, lambda job: job.state in TERMINAL, within_seconds, "its end")

    def reaches(
        self, job_id: str, state: job_pb2.JobState.ValueType, *, within_seconds: float = PATIENCE_SECONDS
    ) -> Job:
        """Waits until a job is in a state and returns it."""
        name = job_pb2.JobState.Name(state)
        return self._when(job_id, lambda job: job.state == state, within_seconds, name)

    def _when(self, job_id: str, wanted: Callable[[Job], bool], within_seconds: float, what: str) -> Job:
        deadline = time.monotonic() + within_seconds
        seen: object = "nothing"
        while time.monotonic() < deadline:
            try:
                job = self.get(job_id)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                seen = error.details()
            else:
                if wanted(job):
                    return job
                seen = job_pb2.JobState.Name(job.state)
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"waited {within_seconds:g} s in vain for {what} of job {job_id}; last seen: {seen}")


class Stream:
    """A stream of events that can be cut."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[JobEvent]:
        """Yields the events that aren't heartbeats."""
        return (event for event in self._call if event.WhichOneof("detail") != "heartbeat")

    def read(self, count: int) -> list[JobEvent]:
        """Returns the next events, fewer when the stream ends."""
        return list(itertools.islice(self, count))

    def cut(self) -> None:
        """Ends the stream from the reader's side."""
        self._call.cancel()


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Says how a fleet of these tests differs from the usual one."""

    workers: int = 1
    lease_seconds: float = 3.0
    grace_seconds: float = 25.0
    draws_for_real: bool = False
    marks: WaterMarks = USUAL_MARKS
    """From when on a disk is full; small for fleets on a small one."""
    account_limit_factor: float = 100
    settings: Mapping[str, str] = field(default_factory=dict)
    login_requires_verified_email: bool = False


@contextmanager
def running_stage(folder: Path, plan: FleetPlan) -> Iterator[Stage]:
    """Runs a fleet whose workers draw with the fast fake and have the accidents that a test arms, or draw for real."""
    faults_folder = folder / "faults"
    faults_folder.mkdir(parents=True)
    pipeline = {
        "PIPELINE": "tests.fakes.faulty_worker:create",
        FAULTS_DIR_VARIABLE: str(faults_folder),
    }
    settings = {
        **({} if plan.draws_for_real else pipeline),
        "LEASE_SECONDS": str(plan.lease_seconds),
        "GRACE_SECONDS": str(plan.grace_seconds),
        "LOG_LEVEL": "info",
        "STORAGE_LOW_BYTES": str(plan.marks.low_bytes),
        "STORAGE_HIGH_BYTES": str(plan.marks.high_bytes),
        "ACCOUNT_LIMIT_FACTOR": f"{plan.account_limit_factor:g}",
        "LOGIN_REQUIRES_VERIFIED_EMAIL": str(plan.login_requires_verified_email).lower(),
        **plan.settings,
    }
    with Fleet(folder / "data", workers=plan.workers, settings=settings) as fleet:
        stage = Stage(fleet, Faults(faults_folder))
        try:
            yield stage
        finally:
            stage.close()


def create_request(prompt: str, *, request_id: str = "", **fields: Any) -> generation_service_pb2.CreateJobRequest:
    """Returns a request for a small picture of few steps, but for what `fields` say."""
    operation = {"width_px": _SIDE_PX, "height_px": _SIDE_PX, "step_count": _STEPS, "prompt": prompt, **fields}
    return generation_service_pb2.CreateJobRequest(
        request_id=request_id, text_to_image=job_pb2.TextToImage(**operation)
    )


def answer_or_refusal(call: Callable[[], T]) -> T | ServiceError:
    """Calls, and returns a refusal instead of raising it."""
    try:
        return call()
    except grpc.RpcError as error:
        return refusal_in(error)


def refusal_of(call: Callable[[], object]) -> ServiceError:
    """Returns the refusal of a call that must be refused."""
    answer = answer_or_refusal(call)
    assert isinstance(answer, ServiceError), f"not refused but answered: {answer}"
    return answer


def refusal_in(error: grpc.RpcError) -> ServiceError:
    """Reads the platform's refusal out of a gRPC error."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            refusal = from_status(status_pb2.Status.FromString(value))
            assert refusal is not None, f"not a refusal of this platform: {error}"
            assert error.code().value[0] == refusal.code
            return refusal
    raise AssertionError(f"refused without a reason: {error}") from error


def until(condition: Callable[[], object], what: str, *, within_seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until a condition holds."""
    Fleet.wait_for(lambda: bool(condition()), within_seconds=within_seconds, what=what)


__all__ = [
    "ENOUGH_CREDITS",
    "PATIENCE_SECONDS",
    "TERMINAL",
    "TERMINAL_DETAILS",
    "Accident",
    "FleetPlan",
    "Job",
    "JobEvent",
    "Moment",
    "Person",
    "Stage",
    "Stream",
    "answer_or_refusal",
    "create_request",
    "refusal_in",
    "refusal_of",
    "running_stage",
    "until",
]
