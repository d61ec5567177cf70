"""A client made for AUTOMATIC1111's web UI before the whole platform, which draws for real: an address and a key are all."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import webuiapi
from PIL import Image, ImageChops
from pingvas.gallery.v1 import gallery_service_pb2

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import FleetPlan, Person, Stage, running_stage

SMALL: dict[str, Any] = {"prompt": "a red circle", "steps": 4, "seed": 7, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("a1111"), FleetPlan(draws_for_real=True)) as stage:
        yield stage


@pytest.fixture(scope="module")
def person(stage: Stage) -> Person:
    return stage.person("pro")


@pytest.fixture(scope="module")
def client(stage: Stage, person: Person) -> webuiapi.WebUIApi:
    return client_of(stage, person)


def client_of(stage: Stage, person: Person) -> webuiapi.WebUIApi:
    token = dict(person.metadata)["authorization"].removeprefix("Bearer ")
    return webuiapi.WebUIApi(baseurl=f"{stage.fleet.http}/sdapi/v1", username="anybody", password=token)


def test_two_pictures_are_drawn_paid_for_and_in_the_gallery(
    stage: Stage, person: Person, client: webuiapi.WebUIApi
) -> None:
    client.util_wait_for_ready(0.1)
    result = client.txt2img(**{**SMALL, "width": 128}, batch_size=2)
    assert [(each.format, each.size) for each in result.images] == [("PNG", (128, 64))] * 2
    assert ImageChops.difference(*result.images).getbbox() is not None
    assert (result.info["all_seeds"], result.info["sampler_name"]) == ([7, 8], "Euler a")
    assert "Steps: 4, Sampler: Euler a" in result.info["infotexts"][0]
    kept = person.gallery.ListImages(gallery_service_pb2.ListImagesRequest(), metadata=person.metadata).images
    assert sorted(each.seed for each in kept[:2]) == [7, 8]
    assert_invariants(stage)


def test_same_seed_makes_the_same_picture_and_a_drawn_one_is_told(client: webuiapi.WebUIApi) -> None:
    drawn = client.txt2img(**{**SMALL, "seed": -1}, sampler_name="DPM++ 2M Karras")
    again = client.txt2img(**{**SMALL, "seed": drawn.info["seed"]}, sampler_name="DPM++ 2M", scheduler="automatic")
    assert ImageChops.difference(drawn.image, again.image).getbbox() is None
    assert (drawn.info["ignored"], again.info["ignored"]) == (["scheduler"], [])


def test_picture_changes_where_the_mask_is_white(client: webuiapi.WebUIApi) -> None:
    before = Image.new("RGB", (128, 128), (30, 60, 200))
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 64, 128))
    size = {"width": 128, "height": 128}
    result = client.img2img(images=[before], mask_image=mask, **{**SMALL, **size}, denoising_strength=1.0)
    changed = ImageChops.difference(result.image.convert("RGB"), before)
    kept, repainted = changed.crop((88, 0, 128, 128)), changed.crop((0, 0, 40, 128))
    assert max(high for _, high in kept.getextrema()) <= 2
    assert max(high for _, high in repainted.getextrema()) > 40


def test_picture_to_begin_with_gives_its_colours(client: webuiapi.WebUIApi) -> None:
    before = Image.new("RGB", (64, 64), (30, 60, 200))
    result = client.img2img(images=[before], **SMALL, denoising_strength=0.3)
    assert (result.image.size, result.info["denoising_strength"]) == ((64, 64), 0.3)


def test_picture_is_made_larger(client: webuiapi.WebUIApi) -> None:
    names = [each["name"] for each in client.get_upscalers()]
    assert names[0] == "None"
    result = client.extra_single_image(
        Image.new("RGB", (32, 16), (30, 60, 200)), upscaler_1=names[1], upscaling_resize=2
    )
    assert result.image.size == (64, 32)


def test_notes_of_a_picture_are_told(client: webuiapi.WebUIApi) -> None:
    drawn = client.txt2img(**SMALL, negative_prompt="fog")
    data = drawn.json["images"][0]
    answer = client.session.post(f"{client.baseurl}/png-info", json={"image": data}).json()
    assert answer["info"].startswith("a red circle\nNegative prompt: fog\nSteps: 4, Sampler: Euler a")
    assert answer["parameters"]["Seed"] == "7"
    assert client.png_info(Image.new("RGB", (8, 8))).info == ""


def test_lists_have_what_the_client_looks_for(client: webuiapi.WebUIApi) -> None:
    assert {"default", "pingvas-tiny"} <= set(client.util_get_model_names())
    assert {"Automatic", "Euler", "Euler a", "DPM++ 2M"} <= set(client.util_get_sampler_names())
    assert client.util_get_scheduler_names() == ["automatic"]
    assert client.util_get_current_model() == "default"
    client.util_set_model("pingvas-tiny")
    assert client.util_get_current_model() == "pingvas-tiny"
    assert client.txt2img(**SMALL).info["sd_model_name"] == "pingvas-tiny"
    assert client.interrupt() == {}


def test_address_with_a_password_is_all_that_a_program_needs(stage: Stage, person: Person) -> None:
    token = dict(person.metadata)["authorization"].removeprefix("Bearer ")
    address = httpx.URL(stage.fleet.http).copy_with(username="any", password=token, path="/sdapi/v1/txt2img")
    # As LibreChat's tool sends it, but small.
    asked = {"prompt": "a boat", "negative_prompt": "fog", "cfg_scale": 4.5, "steps": 4, "width": 64, "height": 64}
    answer = httpx.post(address, json=asked, timeout=60).json()
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        assert image.size == (64, 64)
    # It shows the last line.
    assert json.loads(answer["info"])["infotexts"][0].split("\n")[-1].startswith("Steps: 4, Sampler: ")


def test_refusals_are_told_in_words(stage: Stage) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)422.*width"):
        client_of(stage, stage.person("free")).txt2img(**{**SMALL, "width": 1024, "height": 1024})
    with pytest.raises(RuntimeError, match=r"402.*INSUFFICIENT_CREDITS"):
        client_of(stage, stage.person("free", has_credits=0)).txt2img(**SMALL)
