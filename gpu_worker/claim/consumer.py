"""Owns how a worker gets jobs and ends its hold on them: a subclass of arq's Worker with an atomic claim of its own.

Taken from arq: its registry of functions, its record of a job, its signal handling, its task bookkeeping, `run` and
`async_run`. Replaced:

- the polling (`main`, `_poll_iteration`, `start_jobs`). arq looks for work every half second, and behind a hundred
  running jobs finds none. Here one blocking call waits and claims in a single round trip.
- `run_job` and `finish_job`. arq's cost another round trip before the handler starts, run a job whose payload is a day
  old as failed without calling the handler, and at the end delete the running mark whoever holds it: a worker that was
  frozen past its lease would free the job of the one that took over. Ends here are compare-and-delete, and no result is
  kept: the owner of the jobs has heard it by RPC.
- the time-out of a running mark, the longest of all functions plus ten seconds, by a lease that is renewed.

What a job is and how it is run is the handler's; who may have it is decided by `svc_common.queue`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from signal import Signals
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import RedisError

from gpu_worker.claim.lease import HandBack, HandBackLater, Lease, renewing
from svc_common.concurrency import end_tasks
from svc_common.queue import FUNCTION_NAME, Claim, JobQueue
from svc_common.queue.payload import deserialize, serialize

Handler = Callable[[Claim, Lease], Awaitable[None]]
"""Runs a job and reports it. Returning ends the job in the queue; HandBack runs it again at once, HandBackLater after
`later_ms`; any other exception runs it again after `retry_delay_ms`."""

SAFETY_POLL_SECONDS = 1.0
"""Wake-ups are sent when a job is enqueued; lapsed leases nobody announces, so the idle look once a second."""

_BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_log = structlog.get_logger(__name__)


class TierConsumer(Worker):
    """Claims jobs while the slot is free and runs the handler on each.

    - `slot` is held from before the claim until the handler frees it: one permit for one GPU.
    - `max_running` bounds the jobs in hand, including those that are past the GPU and still being uploaded.
    - `grace_seconds` is how long running handlers may go on after a stop, of which their leases tell them; then they are
      cancelled and handed back.
    - `jitter` gives numbers in [0, 1) that spread the reconnections of many workers.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: Handler,
        *,
        worker_id: str,
        slot: asyncio.Semaphore,
        loaded_models: Callable[[], Collection[str]],
        lease_ms: int = 30_000,
        grace_seconds: float = 25.0,
        max_running: int = 4,
        retry_delay_ms: int = 2_000,
        later_ms: int = 15_000,
        handle_signals: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            functions=[func(self._handle, name=FUNCTION_NAME)],
            redis_pool=ArqRedis(queue.redis.connection_pool, job_serializer=serialize, job_deserializer=deserialize),
            max_jobs=max_running,
            job_completion_wait=max(1, round(grace_seconds)),  # not 0: arq then cancels at the signal
            handle_signals=handle_signals,
            keep_result=0,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )
        self.connected = False
        """Whether the latest call to Redis was answered."""
        self._queue = queue
        self._handler = handler
        self._worker_id = worker_id
        self._slot = slot
        self._loaded_models = loaded_models
        self._lease_ms = lease_ms
        self._grace_seconds = grace_seconds
        self._retry_delay_ms = retry_delay_ms
        self._later_ms = later_ms
        self._jitter = jitter
        self._places = asyncio.Semaphore(max_running)
        self._stopping = asyncio.Event()
        self._leases: dict[str, Lease] = {}

    async def main(self) -> None:
        """Claims and runs jobs until `stop`, then lets the running ones finish within the grace period."""
        listener = asyncio.create_task(self._listen_for_cancellations(), name="cancellations")
        stopper = asyncio.create_task(self._end_wait_when_stopping(), name="stop")
        try:
            await self._claim_until_stopped()
            await self._drain()
        finally:
            self.stop()
            await end_tasks(listener)
            await asyncio.wait([stopper])

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The jobs in hand, that which was claimed last at the end."""
        return tuple(self._leases)

    def stop(self) -> None:
        """Stops claiming at once; `main` returns when the running jobs have ended or were handed back."""
        if self._stopping.is_set():
            return
        self.allow_pick_jobs = False
        self._stopping.set()
        grace_end_s = self.loop.time() + self._grace_seconds
        for lease in self._leases.values():
            lease.stop_by(grace_end_s)

    def handle_sig_wait_for_completion(self, signum: Signals) -> None:
        """Called by arq on SIGTERM and SIGINT."""
        _log.info("worker.stopping", signal=Signals(signum).name, running=len(self.tasks))
        self.stop()

    async def close(self) -> None:
        """Called by arq's `run` after `main`. The connections belong to whoever made the queue."""
        self.stop()

    async def _claim_until_stopped(self) -> None:
        failures = 0
        look_first = True
        while await self._take_place():
            try:
                claim = await self._next_claim(look_first=look_first)
            except (RedisError, OSError) as error:
                self._give_place_back()
                self._note_outage(error, failures)
                await self._back_off(failures)
                failures += 1
                continue
            failures, self.connected = 0, True
            # After a job the next one may be waiting already, and its wake-up have gone to a worker that was busy.
            look_first = claim is not None
            if claim is None:
                self._give_place_back()
            else:
                self._start(claim)

    async def _take_place(self) -> bool:
        """Waits for the slot and a place for one more job. Returns False, holding neither, when stopping."""
        return await self._acquire(self._places) and await self._acquire_slot_or_return_place()

    async def _acquire_slot_or_return_place(self) -> bool:
        taken = await self._acquire(self._slot)
        if not taken:
            self._places.release()
        return taken

    async def _acquire(self, semaphore: asyncio.Semaphore) -> bool:
        if self._stopping.is_set():
            return False
        if not semaphore.locked():
            return await semaphore.acquire()
        acquiring = asyncio.create_task(semaphore.acquire())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([acquiring, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self._stopping.is_set():
            return True
        if acquiring.done():
            semaphore.release()
        acquiring.cancel()
        return False

    def _give_place_back(self) -> None:
        self._slot.release()
        self._places.release()

    async def _next_claim(self, *, look_first: bool) -> Claim | None:
        if look_first:
            claim = await self._queue.claim(self._worker_id, self._loaded_models(), self._lease_ms)
            if claim is not None or self._stopping.is_set():
                return claim
        return await self._queue.wait_and_claim(
            self._worker_id, self._loaded_models(), self._lease_ms, wait_seconds=SAFETY_POLL_SECONDS
        )

    def _start(self, claim: Claim) -> None:
        job_id = str(claim.job.job_id)
        task = asyncio.create_task(self._run(claim), name=f"job {job_id} {claim.fence}")
        # By name, not by job: a job that was lost here can be claimed here again while its first handler still aborts.
        self.tasks[task.get_name()] = task
        self.job_counter += 1
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        del self.tasks[task.get_name()]
        self.job_counter -= 1
        self._places.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("job.end_failed", task=task.get_name(), exc_info=error)

    async def _run(self, claim: Claim) -> None:
        """Runs the handler under a renewed lease and ends the lease as the handler's end demands."""
        job_id = str(claim.job.job_id)
        lease = Lease(claim, self._slot.release)
        self._leases[job_id] = lease
        try:
            async with renewing(self._queue, claim, lease, self._lease_ms):
                end = await self._end_of_handler(claim, lease)
        finally:
            lease.release_slot()
            if self._leases.get(job_id) is lease:
                del self._leases[job_id]
        if not lease.lost.is_set():
            await self._insist(end)

    async def _end_of_handler(self, claim: Claim, lease: Lease) -> Callable[[], Awaitable[object]]:
        """Runs the handler, out of the registry as arq does, and returns the call that ends the lease."""
        if self._stopping.is_set():
            return lambda: self._queue.hand_back(claim)  # claimed while the stop was on its way
        try:
            await self.functions[FUNCTION_NAME].coroutine({"claim": claim, "lease": lease})
        except HandBackLater:
            self.jobs_retried += 1
            return lambda: self._queue.renew(claim, self._later_ms)
        except (HandBack, asyncio.CancelledError):
            self.jobs_retried += 1
            return lambda: self._queue.hand_back(claim)
        except Exception:  # noqa: BLE001 - whatever a handler raises, its job has to return
            _log.exception("job.handler_failed", job_id=str(claim.job.job_id), fence=claim.fence)
            self.jobs_failed += 1
            # A short lease that nobody renews: the job returns by itself, and a handler that always fails doesn't spin.
            return lambda: self._queue.renew(claim, self._retry_delay_ms)
        self.jobs_complete += 1
        return lambda: self._queue.finish(claim)

    async def _handle(self, ctx: dict[Any, Any], *_args: Any, **_kwargs: Any) -> None:
        await self._handler(ctx["claim"], ctx["lease"])

    async def _insist(self, end: Callable[[], Awaitable[object]]) -> None:
        """Repeats the call while Redis can't be reached, for as long as the lease could last.

        Given up, the job is claimed again after the lease, and its owner tells the next worker that it has ended.
        """
        deadline = self.loop.time() + self._lease_ms / 1000
        failures = 0
        while True:
            try:
                await end()
            except (RedisError, OSError):
                if self.loop.time() >= deadline:
                    raise
                await asyncio.sleep(self._pause_seconds(failures))
                failures += 1
            else:
                return

    async def _drain(self) -> None:
        running = set(self.tasks.values())
        if running:
            _, running = await asyncio.wait(running, timeout=self._grace_seconds)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        _log.info("worker.stopped", complete=self.jobs_complete, handed_back=len(running))

    async def _end_wait_when_stopping(self) -> None:
        await self._stopping.wait()
        try:
            await self._queue.wake_worker(self._worker_id)
        except (RedisError, OSError) as error:
            _log.warning("worker.wake_failed", error=repr(error))  # the wait ends by itself within a second

    async def _listen_for_cancellations(self) -> None:
        failures = 0
        while True:
            try:
                async for job_id in self._queue.cancellations():
                    failures = 0
                    if (lease := self._leases.get(str(job_id))) is not None:
                        lease.cancel_requested.set()
            except (RedisError, OSError):
                await asyncio.sleep(self._pause_seconds(failures))
                failures += 1

    def _note_outage(self, error: Exception, failures: int) -> None:
        self.connected = False
        if failures == 0:
            _log.warning("worker.redis_unreachable", error=repr(error))

    async def _back_off(self, failures: int) -> None:
        """Pauses, or returns at once when stopping."""
        sleeping = asyncio.create_task(asyncio.sleep(self._pause_seconds(failures)))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([sleeping, stopping], return_when=asyncio.FIRST_COMPLETED)
        sleeping.cancel()
        stopping.cancel()

    def _pause_seconds(self, failures: int) -> float:
        longest = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
        return longest * (0.5 + self._jitter() / 2)
