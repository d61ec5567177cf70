"""A platform that draws: small answers for whatever a picture takes, and an object store for its bytes."""

import asyncio
import io
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from google.protobuf.message import Message
from PIL import Image
from pingvas.gallery.v1 import gallery_service_pb2, image_pb2
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2
from pingvas.models.v1 import model_pb2, model_service_pb2

from svc_common.clock import new_id
from tests.factories.messages import IMAGE_ID, JOB_ID
from tests.fakes.public_platform import PublicPlatform

CREATE, WATCH, CANCEL = "GenerationService.CreateJob", "GenerationService.WatchJob", "GenerationService.CancelJob"


def picture(mode: str = "RGB", colour: Any = (200, 30, 30), file_format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (16, 8), colour).save(out, file_format)
    return out.getvalue()


class ObjectStore:
    """A small object store that keeps what is put and, after so many failures, gives one picture to whoever gets."""

    def __init__(self) -> None:
        self.put: list[tuple[str, bytes]] = []
        self.failures = 0
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.failures -= 1
                self.send_response(200 if store.failures < 0 else 503)
                self.send_header("content-type", "image/webp" if self.path.endswith("thumbnail") else "image/png")
                self.end_headers()
                self.wfile.write(picture(file_format="WEBP" if self.path.endswith("thumbnail") else "PNG"))

            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                store.put.append((self.headers["content-type"], data))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Ends the store."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/picture"


def draw(platform: PublicPlatform, store: ObjectStore) -> None:
    """Makes a platform complete each job with as many pictures as it asks for, after three previews."""

    async def create(request: generation_service_pb2.CreateJobRequest) -> Message:
        return job_pb2.Job(job_id=JOB_ID, state=job_pb2.JOB_STATE_QUEUED)

    async def watch(request: generation_service_pb2.WatchJobRequest) -> AsyncIterator[Message]:
        asked = platform.calls_of(CREATE)[-1].request
        operation = getattr(asked, asked.WhichOneof("operation"))  # type: ignore[attr-defined]
        count = getattr(operation, "image_count", 1)
        yield event("1", queued=job_event_pb2.JobQueued())
        for percent in (25, 50, 75):
            preview = picture(file_format="JPEG")
            yield event(f"2-{percent}", progress=job_event_pb2.JobProgress(percent=percent, preview_jpeg=preview))
        images = [job_pb2.JobImage(image_id=IMAGE_ID, width_px=16, height_px=8, seed=7 + each) for each in range(count)]
        yield event("3", completed=job_event_pb2.JobCompleted(images=images, credits_used="1.000"))

    async def job(request: generation_service_pb2.GetJobRequest) -> Message:
        """Returns the job that was asked for, with some defaults filled in."""
        asked = platform.calls_of(CREATE)[-1].request
        kind = asked.WhichOneof("operation")  # type: ignore[attr-defined]
        found = job_pb2.Job(job_id=request.job_id, **{kind: getattr(asked, kind)})
        drawn = getattr(found, kind)
        drawn.model_id = drawn.model_id or "pingvas-tiny"
        if kind != "upscale":
            drawn.step_count, drawn.scheduler = drawn.step_count or 4, drawn.scheduler or "euler"
            drawn.guidance_scale = drawn.guidance_scale or 5
        return found

    async def image(_: Message) -> Message:
        thumbnail_url = f"{store.url}-thumbnail"
        return image_pb2.Image(
            image_id=IMAGE_ID, content_url=store.url, content_type="image/png", thumbnail_url=thumbnail_url
        )

    async def upload(_: Message) -> Message:
        return gallery_service_pb2.Upload(upload_id=str(new_id()), put_url=store.url)

    async def models(_: Message) -> Message:
        found = [
            model_pb2.Model(
                model_id="pingvas-tiny",
                kind=model_pb2.MODEL_KIND_CHECKPOINT,
                schedulers=["euler", "dpmpp_2m"],
                operations=[model_pb2.OPERATION_TEXT_TO_IMAGE, model_pb2.OPERATION_UPSCALE],
            ),
            model_pb2.Model(model_id="ink-lines", kind=model_pb2.MODEL_KIND_LORA),
        ]
        return model_service_pb2.ListModelsResponse(models=found)

    async def model(request: model_service_pb2.GetModelRequest) -> Message:
        return model_pb2.Model(model_id=request.model_id, kind=model_pb2.MODEL_KIND_CHECKPOINT)

    platform.answers |= {
        CREATE: create,
        "GenerationService.GetJob": job,
        "GalleryService.GetImage": image,
        "GalleryService.CreateUpload": upload,
        "ModelService.ListModels": models,
        "ModelService.GetModel": model,
    }
    platform.streams[WATCH] = watch


def event(event_id: str, **detail: Message) -> job_event_pb2.JobEvent:
    return job_event_pb2.JobEvent(event_id=event_id, job_id=JOB_ID, **detail)  # type: ignore[arg-type]


class Slow:
    """A platform whose jobs go on until they are let go; `cancelled` is set by CancelJob."""

    def __init__(self, studio: PublicPlatform) -> None:
        self.finish = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.created = 0
        self.cancellations = 0
        self.watching = 0
        complete = studio.streams[WATCH]

        async def create(_: Message) -> Message:
            self.created += 1
            return job_pb2.Job(job_id=JOB_ID)

        async def watch(request: Message) -> AsyncIterator[Message]:
            self.watching += 1
            try:
                yield event("1", queued=job_event_pb2.JobQueued())
                await self.finish.wait()
                async for each in complete(request):
                    yield each
            finally:
                self.watching -= 1

        async def cancel(_: Message) -> Message:
            self.cancelled.set()
            self.cancellations += 1
            return job_pb2.Job(job_id=JOB_ID)

        studio.answers |= {CREATE: create, CANCEL: cancel}
        studio.streams[WATCH] = watch
