"""The client for programs that run an event loop."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
import httpx
from google.protobuf.message import Message
from pingvas.gallery.v1.gallery_service_pb2 import CreateUploadRequest, GetImageRequest, ListImagesRequest
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.gallery.v1.image_pb2 import Image
from pingvas.generation.v1.generation_service_pb2 import CancelJobRequest, GetJobRequest, JobQuote, ListJobsRequest
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_event_pb2 import JobEvent
from pingvas.generation.v1.job_pb2 import ImageSource, Job, JobImage, JobState, Upscale
from pingvas.generation.v1.webhook_pb2 import WebhookEvent
from pingvas.models.v1.model_pb2 import Model
from pingvas.models.v1.model_service_pb2 import ListModelsRequest
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub
from pingvas.payment.v1.credit_service_pb2 import Balance, GetBalanceRequest
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.user.v1.auth_service_pb2 import LoginRequest, VerifySecondFactorRequest
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub

from pingvas_sdk.address import Address
from pingvas_sdk.connection import CALL_SECONDS, Connection
from pingvas_sdk.credentials import Credentials, Key, Session
from pingvas_sdk.errors import JobCancelledError, JobFailedError, RefusedError, UnreachableError
from pingvas_sdk.operations import Operation, drawing, quote_of, request_of
from pingvas_sdk.pictures import Picture, Source, content_type
from pingvas_sdk.progress import Progress

_TRANSFER_SECONDS: Final = 120.0
FAREWELL_SECONDS: Final = 5.0
_PAGE_SIZE: Final = 200
_UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE

Answer = TypeVar("Answer")
Item = TypeVar("Item", bound=Message)
OnProgress = Callable[[Progress], object]


class AsyncClient:
    """A client of one deployment, for one caller. It is made and used within one event loop.

    Every method raises RefusedError, with what the platform says, or UnreachableError. Calls are repeated while that may help
    and is safe.
    """

    def __init__(
        self,
        address: str,
        api_key: str = "",
        *,
        credentials: Credentials | None = None,
        ca_file: str | PathLike[str] | None = None,
        user_agent: str = "",
    ) -> None:
        """Takes the deployment's address (`https://HOST`) and an API key or an access token.

        `credentials` takes its place where tokens are renewed elsewhere. `ca_file` names the certificates (PEM) to trust in
        place of the usual ones. Raises ValueError for what is no address.
        """
        where = Address.of(address)
        roots = None if ca_file is None else Path(ca_file).read_bytes()
        self._credentials = credentials or (Key(api_key) if api_key else None)
        self._connection = Connection(
            where, self._credentials, root_certificates=roots, user_agent=user_agent or _user_agent()
        )
        trusted = True if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
        self._http = httpx.AsyncClient(timeout=_TRANSFER_SECONDS, verify=trusted)
        self._farewells = set[asyncio.Task[object]]()

    @classmethod
    async def login(cls, address: str, email: str, password: str, *, code: str = "", **options: Any) -> Self:
        """Begins a session with a password and returns its client; the session renews itself.

        `code` is one of the authenticator app, or a recovery code, for an account with a second factor.
        """
        async with cls(address, **options) as stranger:
            method = AuthServiceStub(stranger.channel).Login
            pair = await stranger.call(method, LoginRequest(email=email, password=password))
            if pair.HasField("second_factor"):
                request = VerifySecondFactorRequest(challenge=pair.second_factor.challenge, code=code)
                pair = await stranger.call(AuthServiceStub(stranger.channel).VerifySecondFactor, request)
        return cls(address, credentials=Session(pair), **options)

    async def __aenter__(self) -> Self:
        """Returns itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections."""
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self.say_farewells()
        await self._http.aclose()
        await self._connection.close()

    async def say_farewells(self) -> None:
        """Waits, for a moment, until the jobs are cancelled whose waits were."""
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=FAREWELL_SECONDS)

    @property
    def address(self) -> Address:
        """Where the deployment is."""
        return self._connection.address

    @property
    def channel(self) -> Any:
        """The gRPC channel, for stubs of the contracts: `call(GalleryServiceStub(client.channel).GetImage, ...)`."""
        return self._connection.channel

    async def call(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: Message,
        *,
        seconds: float = CALL_SECONDS,
        is_anonymous: bool = False,
    ) -> Answer:
        """Calls any method of the contracts as this caller, or as nobody, and returns its answer.

        It is repeated while that may help. A request whose `request_id` is empty is given one, so that it is done once.
        """
        return await self._connection.call(method, request, seconds=seconds, is_anonymous=is_anonymous)

    async def items(self, method: Callable[..., Awaitable[Any]], request: Message) -> AsyncGenerator[Any, None]:
        """Yields what a List method lists, page after page as they are needed."""
        page_request: Any = type(request)()
        page_request.CopyFrom(request)
        page_request.page_size = page_request.page_size or _PAGE_SIZE
        while True:
            page = await self.call(method, page_request)
            for item in next((value for field, value in page.ListFields() if field.is_repeated), ()):
                yield item
            page_request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        model: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        count: int | None = None,
        scheduler: str | None = None,
        loras: Mapping[str, float] | None = None,
        source: Source | None = None,
        strength: float | None = None,
        mask: Source | None = None,
        mask_feather: int | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of the job, which is cancelled with it
    ) -> list[Picture]:
        """Makes pictures from a prompt, alone or with a picture to begin with, and returns them with their bytes.

        What is left out is the model's own. `width` and `height` are in pixels; `loras` are weights by model id; `strength`
        (0 to 1) says how much of the source may change, `mask` where (white is repainted), `mask_feather` how soft its edge
        is, in pixels. `on_progress` is told of every step. A job that isn't done after `timeout` seconds, or whose wait is
        cancelled, is cancelled; what had run is charged.

        Raises JobFailedError and JobCancelledError beside what every call raises, TimeoutError, and ValueError for a file
        that is no picture.
        """
        given = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "model_id": model,
            "width_px": width,
            "height_px": height,
            "step_count": steps,
            "guidance_scale": guidance,
            "seed": seed,
            "image_count": count,
            "scheduler": scheduler,
            "strength": strength,
            "mask_feather_px": mask_feather,
        }
        begin, where = [None if each is None else await self.source(each) for each in (source, mask)]
        return await self.make(drawing(given, loras=loras, source=begin, mask=where), on_progress, timeout=timeout)

    async def upscale(
        self,
        source: Source,
        scale: int = 2,
        *,
        model: str | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of the job, which is cancelled with it
    ) -> Picture:
        """Makes a picture 2 or 4 times as large in both directions, and returns it; raises as `generate` does."""
        operation = Upscale(source=await self.source(source), scale_factor=scale, model_id=model or "")
        (picture,) = await self.make(operation, on_progress, timeout=timeout)
        return picture

    async def make(
        self,
        operation: Operation,
        on_progress: OnProgress | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - of the job, which is cancelled with it
    ) -> list[Picture]:
        """Has an operation of the contracts done, waits for it, and returns its pictures; raises as `generate` does."""
        job = await self.submit(operation)
        try:
            async with asyncio.timeout(timeout):
                ended = await self.wait(job.job_id, on_progress)
        except (TimeoutError, asyncio.CancelledError):
            # Nobody else knows its id. The cancellation of this call mustn't stop that of the job.
            self._say(self.cancel(job.job_id))
            raise
        return [await self._picture(ended, image) for image in ended.images]

    async def submit(
        self,
        operation: Operation,
        *,
        request_id: str = "",
        webhook_url: str = "",
        webhook_events: Sequence[WebhookEvent.ValueType] = (),
    ) -> Job:
        """Creates a job and returns it as accepted. The same `request_id` with the same arguments is the same job.

        `webhook_url` is an https address that gets the job's events, signed with the account's secret
        (`pingvas webhooks secret`): `webhook_events`, or its end if none are given.
        """
        method = GenerationServiceStub(self.channel).CreateJob
        request = request_of(operation, request_id, webhook_url=webhook_url, webhook_events=webhook_events)
        job: Job = await self.call(method, request)
        return job

    async def quote(self, operation: Operation) -> JobQuote:
        """Returns what an operation would cost and when it would start."""
        quote: JobQuote = await self.call(GenerationServiceStub(self.channel).QuoteJob, quote_of(operation))
        return quote

    def watch(self, job_id: str, *, after: str = "") -> AsyncGenerator[JobEvent, None]:
        """Yields the events of a job up to its terminal one, across cuts of the stream.

        `after` is the `event_id` of the last event seen, of this stream or another.
        """
        return self._connection.watch(job_id, after=after)

    async def wait(self, job_id: str, on_progress: OnProgress | None = None) -> Job:
        """Waits until a job is completed and returns it; raises JobFailedError and JobCancelledError."""
        async for event in self.watch(job_id):
            if on_progress is not None:
                on_progress(Progress.of(event))
        job = await self.job(job_id)
        match job.state:
            case JobState.JOB_STATE_FAILED:
                raise JobFailedError(job)
            case JobState.JOB_STATE_CANCELLED:
                raise JobCancelledError(job)
            case _:
                return job

    async def job(self, job_id: str) -> Job:
        """Returns a job."""
        job: Job = await self.call(GenerationServiceStub(self.channel).GetJob, GetJobRequest(job_id=job_id))
        return job

    async def cancel(self, job_id: str) -> Job:
        """Cancels a job: a waiting one at once, a running one within a step; raises RefusedError when it has ended."""
        job: Job = await self.call(GenerationServiceStub(self.channel).CancelJob, CancelJobRequest(job_id=job_id))
        return job

    def jobs(self, *states: JobState.ValueType) -> AsyncGenerator[Job, None]:
        """Yields the jobs in some states, or all, the newest first."""
        return self.items(GenerationServiceStub(self.channel).ListJobs, ListJobsRequest(states=states))

    def images(self, **filters: Any) -> AsyncGenerator[Image, None]:
        """Yields the pictures of the gallery, the newest first; `filters` are fields of ListImagesRequest."""
        return self.items(GalleryServiceStub(self.channel).ListImages, ListImagesRequest(**filters))

    def models(self) -> AsyncGenerator[Model, None]:
        """Yields the models of the deployment."""
        return self.items(ModelServiceStub(self.channel).ListModels, ListModelsRequest())

    async def balance(self) -> Balance:
        """Returns the credits of the account."""
        balance: Balance = await self.call(CreditServiceStub(self.channel).GetBalance, GetBalanceRequest())
        return balance

    async def source(self, source: Source) -> ImageSource:
        """Returns what names a picture in an operation: files and bytes are uploaded, pictures of the gallery are named.

        Raises ValueError for what is no PNG, JPEG or WebP, and FileNotFoundError for what is neither a file nor an id.
        """
        match source:
            case Picture():
                return ImageSource(image_id=source.image_id)
            case bytes():
                return ImageSource(upload_id=await self._upload(source, "what was given"))
            case _:
                path = Path(source)
                if await asyncio.to_thread(path.is_file):
                    return ImageSource(
                        upload_id=await self._upload(await asyncio.to_thread(path.read_bytes), str(path))
                    )
                with suppress(ValueError):
                    return ImageSource(image_id=str(uuid.UUID(str(source))))
                raise FileNotFoundError(f"{source} is neither a file nor the id of a picture")

    async def download(self, image_id: str) -> bytes:
        """Returns the bytes of a picture of the gallery, as they were made."""
        image: Image = await self.call(GalleryServiceStub(self.channel).GetImage, GetImageRequest(image_id=image_id))
        return await self._bytes_at(image.content_url)

    async def _picture(self, job: Job, image: JobImage) -> Picture:
        try:
            data = await self._bytes_at(image.url)
        except UnreachableError:
            # The address is good for minutes only.
            data = await self.download(image.image_id)
        return Picture(image.image_id, job.job_id, image.seed, image.width_px, image.height_px, data, image)

    async def _upload(self, data: bytes, name: str) -> str:
        kind = content_type(data)
        if kind is None:
            raise ValueError(f"{name} is no PNG, JPEG or WebP picture: convert it to one of them")
        request = CreateUploadRequest(content_type=kind, size_bytes=len(data))
        upload = await self.call(GalleryServiceStub(self.channel).CreateUpload, request)
        await self._transfer(self._http.put(upload.put_url, content=data, headers={"content-type": kind}))
        return str(upload.upload_id)

    async def _bytes_at(self, url: str) -> bytes:
        return (await self._transfer(self._http.get(url))).content

    async def _transfer(self, sending: Awaitable[httpx.Response]) -> httpx.Response:
        """Waits for a transfer; what it raises never has the address, whose query is a credential."""
        try:
            answer = await sending
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self.address.text}: {error!r}", code=_UNAVAILABLE) from None
        if answer.is_error:
            raise UnreachableError(f"{self.address.text} answered HTTP {answer.status_code}", code=_UNAVAILABLE)
        return answer

    def _say(self, farewell: Awaitable[object]) -> None:
        async def say() -> None:
            with suppress(RefusedError, UnreachableError):
                await farewell

        task: asyncio.Task[object] = asyncio.create_task(say())
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)


def _user_agent() -> str:
    try:
        return f"pingvas-sdk/{metadata.version('pingvas-sdk')}"
    except metadata.PackageNotFoundError:
        # It runs from a checkout.
        return "pingvas-sdk"
