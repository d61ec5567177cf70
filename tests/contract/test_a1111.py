"""The bridge as the API of AUTOMATIC1111's web UI, through Envoy; the services' answers were made beforehand."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from PIL import Image
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2, recipe_pb2
from pingvas.models.v1 import model_pb2
from pingvas.user.v1 import api_key_service_pb2

from svc_common.clock import new_id
from svc_common.errors import FieldViolation, Reason, ServiceError
from tests.factories.messages import JOB_ID
from tests.fakes.drawing_platform import CREATE, WATCH, ObjectStore, Slow, event, picture
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge
from tests.harness_postgres import until
from tests.harness_service import Identities

# What SillyTavern's server passes on for a picture, with its settings as they are at first; no seed means a drawn one.
SILLYTAVERN = {
    "url": "http://127.0.0.1:7860",
    "auth": "anybody:secret",
    "prompt": "best quality, a cat on a mat",
    "negative_prompt": "lowres, bad anatomy",
    "sampler_name": "DDIM",
    "scheduler": "normal",
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "hr_additional_modules": [],
    "hr_second_pass_steps": 0,
    "denoising_strength": 0.7,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
# What Open WebUI sends: it has no sampler unless its administrator names one.
OPEN_WEBUI = {"prompt": "a cat", "batch_size": 2, "width": 512, "height": 768, "steps": 9, "negative_prompt": "fog"}


@pytest_asyncio.fixture
async def http(edge: Edge, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has an access token as password."""
    async with client_of(edge, token) as made:
        yield made


def client_of(edge: Edge, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{edge.port}", auth=("anybody", token), timeout=20)


def asked_of(platform: PublicPlatform) -> Any:
    request = platform.calls_of(CREATE)[-1].request
    return getattr(request, request.WhichOneof("operation"))  # type: ignore[attr-defined]


def of_field(reason: Reason, path: str) -> ServiceError:
    return ServiceError(reason, "Other.", violations=[FieldViolation(path, "must be another")])


async def drawn(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/sdapi/v1/txt2img", json={"prompt": "a cat", **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_prompt_becomes_pictures_and_their_info(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    answer = await drawn(
        http,
        prompt="a cat <lora:ink-lines:0.5>",
        negative_prompt="fog",
        seed=7,
        steps=9,
        cfg_scale=2.5,
        width=256,
        height=128,
        batch_size=2,
        n_iter=2,
        sampler_name="DPM++ 2M",
    )
    assert asked_of(studio) == job_pb2.TextToImage(
        prompt="a cat <lora:ink-lines:0.5>",
        negative_prompt="fog",
        width_px=256,
        height_px=128,
        step_count=9,
        guidance_scale=2.5,
        seed=7,
        image_count=4,
        scheduler="dpmpp_2m",
    )
    assert [base64.b64decode(each) for each in answer["images"]] == [picture()] * 4
    assert answer["parameters"]["batch_size"] == 2
    info = json.loads(answer["info"])
    assert (info["seed"], info["all_seeds"], info["width"], info["height"]) == (7, [7, 8, 9, 10], 16, 8)
    assert (info["sampler_name"], info["sd_model_name"], info["ignored"]) == ("DPM++ 2M", "pingvas-tiny", [])
    assert info["infotexts"][1] == (
        "a cat <lora:ink-lines:0.5>\nNegative prompt: fog\n"
        "Steps: 9, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 2.5, Seed: 8, Size: 16x8, Model: pingvas-tiny, "
        "Version: Pingvas Studio"
    )


async def test_request_of_sillytavern_is_drawn_as_it_is(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    answer = await drawn(http, **SILLYTAVERN)
    asked = asked_of(studio)
    assert (asked.scheduler, asked.step_count, asked.HasField("seed")) == ("ddim", 20, False)
    assert len(answer["images"]) == 1
    assert not {"url", "auth"} & answer["parameters"].keys()
    assert json.loads(answer["info"])["ignored"] == ["override_settings.CLIP_stop_at_last_layers"]


async def test_request_of_open_webui_is_drawn_as_it_is(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    options = (await http.get("/sdapi/v1/options")).json()
    assert options["sd_model_checkpoint"] == "default"
    options["sd_model_checkpoint"] = "pingvas-tiny"
    assert (await http.post("/sdapi/v1/options", json=options)).json() is None
    answer = await drawn(http, **OPEN_WEBUI)
    asked = asked_of(studio)
    assert (asked.model_id, asked.scheduler, asked.image_count) == ("pingvas-tiny", "", 2)
    assert len(answer["images"]) == 2


async def test_what_is_absent_is_left_to_the_model(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    answer = await drawn(http, send_images=False, alwayson_scripts={"ADetailer": {"args": []}}, tiling=True, x={"y": 1})
    assert asked_of(studio) == job_pb2.TextToImage(prompt="a cat", image_count=1)
    assert answer["images"] == []
    assert json.loads(answer["info"])["ignored"] == ["tiling", "alwayson_scripts.ADetailer"]


@pytest.mark.parametrize(
    ("fields", "scheduler", "ignored"),
    [
        ({"sampler_name": "Euler a"}, "euler_a", []),
        ({"sampler_index": "k_euler"}, "euler", []),
        ({"sampler_name": "DPM++ 2M Karras"}, "dpmpp_2m", ["scheduler"]),
        ({"sampler_name": "UniPC", "scheduler": "karras"}, "unipc", ["scheduler"]),
        ({"sampler_name": "LCM", "scheduler": "Automatic"}, "lcm", []),
        ({"sampler_name": "Automatic", "sampler_index": "Euler"}, "", []),
    ],
)
async def test_sampler_of_theirs_is_a_scheduler_of_ours(
    fields: dict[str, Any], scheduler: str, ignored: list[str], http: httpx.AsyncClient, studio: PublicPlatform
) -> None:
    answer = await drawn(http, **fields)
    assert asked_of(studio).scheduler == scheduler
    assert json.loads(answer["info"])["ignored"] == ignored


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"steps": 151}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"width": 100}, "width"),
        ({"height": 63.5}, "height"),
        ({"cfg_scale": 31}, "cfg_scale"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**53}, "seed"),
        ({"batch_size": 0}, "batch_size"),
        ({"n_iter": 9}, "batch_size"),
        ({"sampler_name": "DPM++ SDE"}, "sampler_name"),
        ({"sampler_index": "Heun"}, "sampler_index"),
        ({"enable_hr": True}, "enable_hr"),
        ({"script_name": "X/Y/Z plot"}, "script_name"),
        ({"override_settings": "none"}, "override_settings"),
    ],
)
async def test_value_that_cannot_be_is_refused_by_its_field(
    fields: dict[str, Any], field: str, http: httpx.AsyncClient, studio: PublicPlatform
) -> None:
    answer = await http.post("/sdapi/v1/txt2img", json={"prompt": "a cat", **fields})
    assert answer.status_code == 422, answer.text
    faults = answer.json()["detail"]
    assert {(*fault["loc"], fault["type"]) for fault in faults} == {("body", field, "value_error")}
    assert all(fault["msg"] for fault in faults)
    assert studio.calls_of(CREATE) == []


@pytest.mark.parametrize(
    ("error", "status", "field"),
    [
        (ServiceError(Reason.INSUFFICIENT_CREDITS, "Buy some."), 402, None),
        (ServiceError(Reason.MODEL_NOT_FOUND, "None."), 404, None),
        (ServiceError(Reason.QUEUE_FULL, "Wait.", retry_after=timedelta(seconds=2)), 429, None),
        (ServiceError(Reason.PROMPT_NOTATION_UNSUPPORTED, "No AND."), 422, "prompt"),
        (of_field(Reason.TIER_LIMIT_EXCEEDED, "text_to_image.width_px"), 422, "width"),
        (of_field(Reason.INVALID_FIELD, "text_to_image.scheduler"), 422, "sampler_name"),
        (of_field(Reason.INVALID_FIELD, "text_to_image.loras[0].model_id"), 422, "prompt"),
    ],
)
async def test_refusal_has_their_form(
    error: ServiceError, status: int, field: str | None, http: httpx.AsyncClient, studio: PublicPlatform
) -> None:
    async def refuse(_: Message) -> Message:
        raise error

    studio.answers[CREATE] = refuse
    answer = await http.post("/sdapi/v1/txt2img", json={"prompt": "x"})
    assert answer.status_code == status
    if field:
        assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", field]]
    else:
        words = error.message
        assert answer.json() == {"error": error.reason.value, "detail": words, "body": "", "errors": words}
    assert ("retry-after" in answer.headers) == (error.retry_after is not None)


async def test_job_that_fails_is_refused_in_its_words(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    async def watch(_: Message) -> AsyncIterator[Message]:
        failed = job_event_pb2.JobFailed(reason=48, message="The policy refuses it.")  # type: ignore[arg-type]
        yield event("2", failed=failed)

    studio.streams[WATCH] = watch
    answer = await http.post("/sdapi/v1/txt2img", json={"prompt": "x"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "The policy refuses it.")


@pytest.mark.parametrize("path", ["options", "progress", "samplers", "schedulers", "scripts", "sd-models", "loras"])
@pytest.mark.parametrize("password", ["", "no-token"])
async def test_caller_without_a_good_credential_is_refused(
    path: str, password: str, edge: Edge, platform: PublicPlatform
) -> None:
    auth = httpx.BasicAuth("anybody", password) if password else httpx.Auth()
    answer = await edge.http.get(f"/sdapi/v1/{path}", auth=auth)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Basic")
    assert answer.json()["detail"]


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic bm9ib2R5", "Basic /w==", "Bearer", "Digest x"])
async def test_header_that_holds_no_credential_is_refused(header: str, edge: Edge, platform: PublicPlatform) -> None:
    answer = await edge.http.get("/sdapi/v1/options", headers={"authorization": header})
    assert (answer.status_code, answer.json()["error"]) == (401, "CREDENTIALS_MISSING")
    assert platform.calls == []


@pytest.mark.parametrize("header", ["basic", "bearer"])
async def test_key_is_a_password_or_a_bearer_token(
    header: str, edge: Edge, studio: PublicPlatform, identities: Identities
) -> None:
    ((_, token),) = identities.as_user(new_id())

    async def exchange(_: Message) -> Message:
        return api_key_service_pb2.ExchangeApiKeyResponse(access_token=token.removeprefix("Bearer "))

    studio.answers["ApiKeyService.ExchangeApiKey"] = exchange
    key = f"pgv_test_{new_id().hex}"
    headers = {"authorization": f"Bearer {key}"} if header == "bearer" else {}
    auth = httpx.BasicAuth("anybody", key) if header == "basic" else httpx.Auth()
    answer = await edge.http.post("/sdapi/v1/txt2img", json={"prompt": "x"}, headers=headers, auth=auth)
    assert (answer.status_code, len(answer.json()["images"])) == (200, 1)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def mask(left: int, right: int) -> bytes:
    """Returns a mask of one grey on the left half and another on the right one."""
    image = Image.new("L", (16, 8), right)
    image.paste(left, (0, 0, 8, 8))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
async def test_picture_to_begin_with_is_uploaded(
    head: str, http: httpx.AsyncClient, studio: PublicPlatform, store: ObjectStore
) -> None:
    fields = {"prompt": "x", "init_images": [head + base64_of(picture())], "denoising_strength": 0.4, "resize_mode": 2}
    answer = await http.post("/sdapi/v1/img2img", json=fields)
    assert answer.status_code == 200, answer.text
    asked = asked_of(studio)
    assert asked.DESCRIPTOR.name == "ImageToImage"
    assert (asked.strength, bool(asked.source.upload_id), asked.width_px) == (0.4, True, 0)
    assert store.put == [("image/png", picture())]
    info = json.loads(answer.json()["info"])
    assert (info["denoising_strength"], info["ignored"]) == (0.4, ["resize_mode"])
    assert "Denoising strength: 0.4" in info["infotexts"][0]
    assert answer.json()["parameters"] == {"prompt": "x", "denoising_strength": 0.4, "resize_mode": 2}


@pytest.mark.parametrize("is_inverted", [0, 1])
async def test_mask_repaints_where_it_is_white_or_where_it_is_not(
    is_inverted: int, http: httpx.AsyncClient, studio: PublicPlatform, store: ObjectStore
) -> None:
    fields = {
        "prompt": "x",
        "init_images": [base64_of(picture())],
        "mask": base64_of(mask(255, 0)),
        "mask_blur": 3,
        "inpainting_mask_invert": is_inverted,
        "inpainting_fill": 0,
    }
    answer = await http.post("/sdapi/v1/img2img", json=fields)
    assert answer.status_code == 200, answer.text
    asked = asked_of(studio)
    assert (asked.DESCRIPTOR.name, asked.mask_feather_px) == ("Inpaint", 6)
    assert asked.source.upload_id != asked.mask.upload_id
    with Image.open(io.BytesIO(store.put[1][1])) as ours:
        assert [ours.getpixel((x, 4)) for x in (0, 15)] == ([0, 255] if is_inverted else [255, 0])


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("img2img", {}, "init_images"),
        ("img2img", {"init_images": []}, "init_images"),
        ("img2img", {"init_images": ["AAAA", "AAAA"]}, "init_images"),
        ("img2img", {"init_images": ["no base64!"]}, "init_images"),
        ("img2img", {"init_images": ["https://127.0.0.1/x.png"]}, "init_images"),
        ("img2img", {"init_images": ["AAAA"], "mask": 5}, "mask"),
        ("img2img", {"init_images": ["AAAA"], "mask": "AAAA", "inpainting_mask_invert": 1}, "mask"),
        ("img2img", {"init_images": ["AAAA"], "denoising_strength": "much"}, "denoising_strength"),
        ("extra-single-image", {"upscaler_1": "pingvas-tiny"}, "image"),
        ("extra-single-image", {"image": "AAAA"}, "upscaler_1"),
        ("extra-single-image", {"image": "AAAA", "upscaler_1": "None"}, "upscaler_1"),
        ("extra-single-image", {"image": "AAAA", "upscaler_1": "x", "upscaling_resize": 3}, "upscaling_resize"),
        ("extra-single-image", {"image": "AAAA", "upscaler_1": "x", "resize_mode": 1}, "resize_mode"),
        ("png-info", {}, "image"),
        ("png-info", {"image": "A"}, "image"),
    ],
)
async def test_picture_that_cannot_be_used_is_refused_before_it_is_kept(
    path: str,
    fields: dict[str, Any],
    field: str,
    http: httpx.AsyncClient,
    studio: PublicPlatform,
    store: ObjectStore,
) -> None:
    answer = await http.post(f"/sdapi/v1/{path}", json={"prompt": "x", **fields})
    assert answer.status_code == 422, answer.text
    assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", field]]
    assert (studio.calls_of(CREATE), store.put) == ([], [])


@pytest.mark.parametrize(
    ("path", "at", "field"),
    [("img2img", "image_to_image.source", "init_images"), ("extra-single-image", "upscale.source.upload_id", "image")],
)
async def test_picture_that_a_service_refuses_is_named_as_they_do(
    path: str, at: str, field: str, http: httpx.AsyncClient, studio: PublicPlatform
) -> None:
    async def refuse(_: Message) -> Message:
        raise ServiceError(Reason.SOURCE_INVALID, "It moves.", metadata={"field": at, "cause": "moving"})

    studio.answers[CREATE] = refuse
    encoded = base64_of(picture())
    fields = {"prompt": "x", "init_images": [encoded], "image": encoded, "upscaler_1": "pingvas-tiny"}
    answer = await http.post(f"/sdapi/v1/{path}", json=fields)
    assert answer.status_code == 422
    assert answer.json()["detail"] == [{"loc": ["body", field], "msg": "It moves.", "type": "value_error"}]


async def test_body_that_is_too_large_is_refused_before_it_is_kept(
    http: httpx.AsyncClient, studio: PublicPlatform, store: ObjectStore
) -> None:
    answer = await http.post("/sdapi/v1/img2img", json={"prompt": "x", "init_images": ["A" * (49 << 20)]})
    assert (answer.status_code, answer.json()["error"]) == (413, "REQUEST_TOO_LARGE")
    assert store.put == []


async def test_picture_is_made_larger(http: httpx.AsyncClient, studio: PublicPlatform, store: ObjectStore) -> None:
    fields = {
        "image": base64_of(picture()),
        "upscaler_1": "pingvas-tiny",
        "upscaling_resize": 4.0,
        "gfpgan_visibility": 0,
    }
    answer = await http.post("/sdapi/v1/extra-single-image", json=fields)
    assert answer.status_code == 200, answer.text
    asked = asked_of(studio)
    assert (asked.DESCRIPTOR.name, asked.model_id, asked.scale_factor) == ("Upscale", "pingvas-tiny", 4)
    assert base64.b64decode(answer.json()["image"]) == picture()


async def test_notes_of_a_picture_are_told_without_sending_its_pixels(
    http: httpx.AsyncClient, studio: PublicPlatform
) -> None:
    drawing = job_pb2.TextToImage(
        prompt="a cat",
        negative_prompt="fog",
        model_id="one, two",
        step_count=9,
        guidance_scale=2.5,
        seed=7,
        scheduler="euler_a",
    )
    drawing.width_px, drawing.height_px = 256, 128

    async def read(_: Message) -> Message:
        return recipe_pb2.Recipe(text_to_image=drawing)

    studio.answers["RecipeService.ReadRecipe"] = read
    answer = (await http.post("/sdapi/v1/png-info", json={"image": base64_of(picture())})).json()
    assert answer["info"] == (
        "a cat\nNegative prompt: fog\nSteps: 9, Sampler: Euler a, Schedule type: Automatic, CFG scale: 2.5, Seed: 7, "
        'Size: 256x128, Model: "one, two", Version: Pingvas Studio'
    )
    assert answer["items"] == {"parameters": answer["info"]}
    assert answer["parameters"]["Prompt"] == "a cat"
    assert (answer["parameters"]["Size-1"], answer["parameters"]["Seed"]) == ("256", "7")
    (call,) = studio.calls_of("RecipeService.ReadRecipe")
    sent = call.request.picture  # type: ignore[attr-defined]
    assert sent.startswith(b"\x89PNG")
    assert (b"IHDR" in sent, b"IDAT" in sent, b"IEND" in sent) == (True, False, True)


@pytest.mark.parametrize(("cause", "status"), [("none", 200), ("damaged", 400)])
async def test_picture_without_notes_tells_nothing(
    cause: str, status: int, http: httpx.AsyncClient, studio: PublicPlatform
) -> None:
    async def refuse(_: Message) -> Message:
        raise ServiceError(Reason.RECIPE_INVALID, "No recipe.", metadata={"cause": cause})

    studio.answers["RecipeService.ReadRecipe"] = refuse
    answer = await http.post("/sdapi/v1/png-info", json={"image": base64_of(picture())})
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"info": "", "items": {}, "parameters": {}}


async def test_ping_needs_nothing(edge: Edge, platform: PublicPlatform) -> None:
    answer = await edge.http.get("/internal/ping")
    assert (answer.status_code, answer.json(), platform.calls) == (200, {}, [])


async def test_lists_are_those_of_the_caller(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    async def names(path: str, name: str) -> list[str]:
        return [each[name] for each in (await http.get(f"/sdapi/v1/{path}")).json()]

    assert await names("sd-models", "title") == ["default", "pingvas-tiny"]
    assert await names("sd-models", "model_name") == ["default", "pingvas-tiny"]
    assert await names("loras", "name") == ["ink-lines"]
    assert await names("upscalers", "name") == ["None", "pingvas-tiny"]
    assert await names("samplers", "name") == ["Automatic", "Euler", "DPM++ 2M"]
    assert await names("schedulers", "label") == ["Automatic"]
    for path in ("latent-upscale-modes", "sd-vae", "prompt-styles", "face-restorers"):
        assert await names(path, "name") == []
    assert (await http.get("/sdapi/v1/embeddings")).json() == {"loaded": {}, "skipped": {}}
    assert (await http.get("/sdapi/v1/scripts")).json() == {"txt2img": [], "img2img": []}
    assert (await http.get("/sdapi/v1/cmd-flags")).json() == {}
    assert (await http.post("/sdapi/v1/refresh-checkpoints")).json() is None


async def test_model_is_chosen_for_the_caller_alone(
    http: httpx.AsyncClient, edge: Edge, identities: Identities, studio: PublicPlatform
) -> None:
    await http.post("/sdapi/v1/options", json={"sd_model_checkpoint": "pingvas-tiny [0a1b2c]"})
    await http.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2})
    assert (await http.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "pingvas-tiny"
    await drawn(http)
    assert asked_of(studio).model_id == "pingvas-tiny"
    await drawn(http, override_settings={"sd_model_checkpoint": "another"})
    assert asked_of(studio).model_id == "another"
    await drawn(http, override_settings={"sd_model_checkpoint": "default"})
    assert asked_of(studio).model_id == ""

    stranger = dict(identities.as_user(new_id()))["authorization"].removeprefix("Bearer ")
    async with client_of(edge, stranger) as other:
        assert (await other.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "default"
    await http.post("/sdapi/v1/options", json={"sd_model_checkpoint": "default"})
    await drawn(http)
    assert asked_of(studio).model_id == ""


async def test_model_that_cannot_be_chosen_is_refused(http: httpx.AsyncClient, studio: PublicPlatform) -> None:
    async def missing(_: Message) -> Message:
        raise ServiceError(Reason.MODEL_NOT_FOUND, "No such model.", metadata={"model_id": "x"})

    async def lora(_: Message) -> Message:
        return model_pb2.Model(model_id="ink-lines", kind=model_pb2.MODEL_KIND_LORA)

    for answer, words in ((missing, "No such model."), (lora, "<lora:ink-lines:1>")):
        studio.answers["ModelService.GetModel"] = answer
        refused = await http.post("/sdapi/v1/options", json={"sd_model_checkpoint": "x"})
        assert refused.status_code == 404
        assert words in refused.json()["detail"]
    assert (await http.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "default"


class Halfway:
    """A platform whose jobs stop halfway, until one is cancelled."""

    def __init__(self, studio: PublicPlatform) -> None:
        self.cancelled: asyncio.Event = asyncio.Event()
        self.shown = asyncio.Event()

        async def watch(_: Message) -> AsyncIterator[Message]:
            yield event("1", queued=job_event_pb2.JobQueued(position=3, estimated_wait_seconds=9))
            await self.shown.wait()
            preview = picture(file_format="JPEG")
            progress = job_event_pb2.JobProgress(
                step=5, step_count=20, percent=25, seconds_left=4, preview_jpeg=preview
            )
            yield event("2-5", progress=progress)
            await self.cancelled.wait()
            yield event("3", cancelled=job_event_pb2.JobCancelled(credits_used="0.250"))

        async def cancel(request: generation_service_pb2.CancelJobRequest) -> Message:
            assert request.job_id == JOB_ID
            self.cancelled.set()
            return job_pb2.Job(job_id=JOB_ID)

        studio.streams[WATCH] = watch
        studio.answers["GenerationService.CancelJob"] = cancel


async def test_progress_shows_the_callers_own_job_and_interrupt_ends_it(
    http: httpx.AsyncClient, edge: Edge, identities: Identities, studio: PublicPlatform
) -> None:
    halfway = Halfway(studio)

    async def told(client: httpx.AsyncClient = http, **query: str) -> Any:
        return (await client.get("/sdapi/v1/progress", params=query)).json()

    idle = await told()
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0, 0, None)
    call = asyncio.create_task(http.post("/sdapi/v1/txt2img", json={"prompt": "x"}))
    await until(lambda: _says(told, lambda answer: answer["textinfo"]))
    waiting = await told()
    assert (waiting["progress"], waiting["eta_relative"], waiting["textinfo"]) == (0.01, 9, "Waiting, 3 before it")
    halfway.shown.set()
    await until(lambda: _says(told, lambda answer: answer["state"]["sampling_step"] == 5))
    running = await told()
    assert (running["progress"], running["eta_relative"]) == (0.25, 4)
    assert (running["state"]["job"], running["state"]["job_count"]) == ("txt2img", 1)
    assert running["state"]["sampling_steps"] == 20
    with Image.open(io.BytesIO(base64.b64decode(running["current_image"]))) as preview:
        assert (preview.format, preview.size) == ("PNG", (16, 8))
    assert (await told(skip_current_image="true"))["current_image"] is None

    stranger = dict(identities.as_user(new_id()))["authorization"].removeprefix("Bearer ")
    async with client_of(edge, stranger) as other:
        assert (await told(other))["progress"] == 0
        assert (await other.post("/sdapi/v1/interrupt")).json() == {}
    assert not halfway.cancelled.is_set()

    assert (await http.post("/sdapi/v1/interrupt")).json() == {}
    answer = await call
    assert (answer.status_code, answer.json()["detail"]) == (400, "The job was cancelled.")
    assert (await told())["progress"] == 0


async def _says(told: Any, condition: Any) -> bool:
    return bool(condition(await told()))


async def test_job_of_a_caller_who_hung_up_can_still_be_interrupted(
    http: httpx.AsyncClient, studio: PublicPlatform, slow: Slow
) -> None:
    call = asyncio.create_task(http.post("/sdapi/v1/txt2img", json={"prompt": "x"}))
    await until(lambda: _so(slow.watching > 0))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: _so(slow.watching == 0))
    assert not slow.cancelled.is_set()
    await http.post("/sdapi/v1/interrupt")
    assert slow.cancelled.is_set()


async def test_interrupt_ends_equal_jobs_all(http: httpx.AsyncClient, slow: Slow) -> None:
    calls = []
    for count in (1, 2):
        calls.append(asyncio.create_task(http.post("/sdapi/v1/txt2img", json={"prompt": "x"})))
        await until(lambda count=count: _so(slow.watching == count))
    assert (await http.get("/sdapi/v1/progress")).json()["state"]["job_count"] == 2
    await http.post("/sdapi/v1/interrupt")
    assert slow.cancellations == 2
    slow.finish.set()
    assert [(await call).status_code for call in calls] == [200, 200]


async def _so(condition: bool) -> bool:
    return condition


async def test_what_is_not_there_is_told_in_their_form(http: httpx.AsyncClient, platform: PublicPlatform) -> None:
    answer = await http.post("/sdapi/v1/interrogate", json={})
    assert (answer.status_code, answer.json()["error"]) == (404, "METHOD_NOT_FOUND")
    assert "POST /sdapi/v1/interrogate" in answer.json()["detail"]
