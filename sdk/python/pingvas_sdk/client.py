"""The client for programs without an event loop: AsyncClient, each call run to its end on a loop of its own."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import finalize

from anyio.from_thread import start_blocking_portal
from google.protobuf.message import Message
from pingvas.gallery.v1.image_pb2 import Image
from pingvas.generation.v1.generation_service_pb2 import JobQuote
from pingvas.generation.v1.job_event_pb2 import JobEvent
from pingvas.generation.v1.job_pb2 import ImageSource, Job, JobState
from pingvas.models.v1.model_pb2 import Model
from pingvas.payment.v1.credit_service_pb2 import Balance

from pingvas_sdk.address import Address
from pingvas_sdk.aio import FAREWELL_SECONDS, AsyncClient, OnProgress
from pingvas_sdk.connection import CALL_SECONDS
from pingvas_sdk.operations import Operation
from pingvas_sdk.pictures import Picture, Source

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Client:
    """A client of one deployment, for one caller; any threads may use it at the same time.

    Its methods are those of AsyncClient and raise what those raise.
    """

    def __init__(self, address: str, api_key: str = "", **options: Any) -> None:
        """Takes what AsyncClient takes."""

        async def made() -> AsyncClient:
            return AsyncClient(address, api_key, **options)

        self._begin(made)

    @classmethod
    def login(cls, address: str, email: str, password: str, **options: Any) -> Self:
        """Begins a session with a password and returns its client: see AsyncClient.login."""

        async def made() -> AsyncClient:
            return await AsyncClient.login(address, email, password, **options)

        client = cls.__new__(cls)
        client._begin(made)  # noqa: SLF001 - its own
        return client

    def _begin(self, made: Callable[[], Awaitable[AsyncClient]]) -> None:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            self._async = self._run(made)
            stack.callback(self._portal.call, self._async.close)
            # Also at the end of a program that doesn't close it: a loop that goes on would keep the interpreter from ending.
            self._finalize = finalize(self, stack.pop_all().close)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._finalize()

    @property
    def address(self) -> Address:
        """Where the deployment is."""
        return self._async.address

    @property
    def channel(self) -> Any:
        """The gRPC channel, of grpc.aio: for stubs whose methods are given to `call`, not called."""
        return self._async.channel

    def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Message,
        *,
        seconds: float = CALL_SECONDS,
        is_anonymous: bool = False,
    ) -> Answer:
        """Calls any method of the contracts as this caller, or as nobody, and returns its answer."""
        return self._run(lambda: self._async.call(method, request, seconds=seconds, is_anonymous=is_anonymous))

    def items(self, method: Callable[..., Awaitable[Any]], request: Message) -> Iterator[Any]:
        """Yields what a List method lists, page after page as they are needed."""
        return self._iterate(lambda: self._async.items(method, request))

    def generate(self, prompt: str, **options: Any) -> list[Picture]:
        """Makes pictures from a prompt and returns them with their bytes: see AsyncClient.generate."""
        return self._run(lambda: self._async.generate(prompt, **options))

    def upscale(self, source: Source, scale: int = 2, **options: Any) -> Picture:
        """Makes a picture 2 or 4 times as large in both directions: see AsyncClient.upscale."""
        return self._run(lambda: self._async.upscale(source, scale, **options))

    def make(
        self, operation: Operation, on_progress: OnProgress | None = None, *, timeout: float | None = None
    ) -> list[Picture]:
        """Has an operation of the contracts done, waits for it, and returns its pictures."""
        return self._run(lambda: self._async.make(operation, on_progress, timeout=timeout))

    def submit(self, operation: Operation, **options: Any) -> Job:
        """Creates a job and returns it as accepted: see AsyncClient.submit."""
        return self._run(lambda: self._async.submit(operation, **options))

    def quote(self, operation: Operation) -> JobQuote:
        """Returns what an operation would cost and when it would start."""
        return self._run(lambda: self._async.quote(operation))

    def watch(self, job_id: str, *, after: str = "") -> Iterator[JobEvent]:
        """Yields the events of a job up to its terminal one, across cuts of the stream."""
        return self._iterate(lambda: self._async.watch(job_id, after=after))

    def wait(self, job_id: str, on_progress: OnProgress | None = None) -> Job:
        """Waits until a job is completed and returns it."""
        return self._run(lambda: self._async.wait(job_id, on_progress))

    def job(self, job_id: str) -> Job:
        """Returns a job."""
        return self._run(lambda: self._async.job(job_id))

    def cancel(self, job_id: str) -> Job:
        """Cancels a job: a waiting one at once, a running one within a step."""
        return self._run(lambda: self._async.cancel(job_id))

    def jobs(self, *states: JobState.ValueType) -> Iterator[Job]:
        """Yields the jobs in some states, or all, the newest first."""
        return self._iterate(lambda: self._async.jobs(*states))

    def images(self, **filters: Any) -> Iterator[Image]:
        """Yields the pictures of the gallery, the newest first; `filters` are fields of ListImagesRequest."""
        return self._iterate(lambda: self._async.images(**filters))

    def models(self) -> Iterator[Model]:
        """Yields the models of the deployment."""
        return self._iterate(self._async.models)

    def balance(self) -> Balance:
        """Returns the credits of the account."""
        return self._run(self._async.balance)

    def source(self, source: Source) -> ImageSource:
        """Returns what names a picture in an operation; files and bytes are uploaded."""
        return self._run(lambda: self._async.source(source))

    def download(self, image_id: str) -> bytes:
        """Returns the bytes of a picture of the gallery, as they were made."""
        return self._run(lambda: self._async.download(image_id))

    def _run(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Runs work on the loop to its end; an interruption (Ctrl-C) here ends it there."""
        has_ended = Event()

        async def noted() -> Answer:
            try:
                return await work()
            finally:
                has_ended.set()

        future = None
        try:
            future = self._portal.start_task_soon(noted)
            return future.result()
        except KeyboardInterrupt:
            if future is not None:
                future.cancel()
            # The program may end with this, and the loop with it: the job must be told first.
            has_ended.wait(FAREWELL_SECONDS)
            self._portal.call(self._async.say_farewells)
            raise

    def _iterate(self, begin: Callable[[], AsyncGenerator[Item, None]]) -> Iterator[Item]:
        async def begun() -> AsyncGenerator[Item, None]:
            return begin()

        items = self._run(begun)

        async def following() -> Item | None:
            return await anext(items, None)

        try:
            while (item := self._run(following)) is not None:
                yield item
        finally:
            # One that can't be closed since it is still running ends with the loop.
            with suppress(RuntimeError):
                self._portal.call(items.aclose)
