"""LoRAs of one's own in a browser: uploaded and used, refused by their first part, gone on with, and deleted."""

from pathlib import Path

import pytest
from pingvas.models.v1.lora_service_pb2 import CreateLoraRequest
from pingvas.models.v1.lora_service_pb2_grpc import LoraServiceStub
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import CALL_SECONDS, Stage
from tests.factories.own_loras import lora_bytes, overlapping
from tests.web.conftest import Tab
from tests.web.test_accessibility import grave_findings
from tests.web.test_generate import newest_job


async def own_loras(page: Page) -> Locator:
    await page.get_by_role("link", name="Models").click()
    region = page.get_by_role("region", name="Your own LoRAs")
    await region.wait_for()
    return region


async def upload(region: Locator, file: Path, name: str) -> None:
    await region.get_by_label("LoRA file").set_input_files(file)
    await region.get_by_label("Name of the LoRA").fill(name)
    await region.get_by_label("For models of the family").select_option("tiny")
    await region.get_by_label("Trigger words").fill("sumi-e, ink")
    await region.get_by_role("button", name="Upload the LoRA").click()


async def test_lora_is_uploaded_and_used_and_deleted(tab: Tab, studio: Stage, tmp_path: Path) -> None:
    person, page = studio.person("studio"), tab.page
    file = tmp_path / "wash.safetensors"
    file.write_bytes(lora_bytes(filling=4000))
    await tab.sign_in(person)
    region = await own_loras(page)
    await upload(region, file, "Ink wash")
    item = region.get_by_role("listitem", name="Ink wash")
    await expect(item).to_contain_text("ready")
    await expect(item).to_contain_text("2 modules, rank 4")
    await expect(item).to_contain_text("1 for other models, left out")
    await expect(region).to_contain_text("1 of 50")
    assert await grave_findings(page, "own-loras") == []

    await page.get_by_role("button", name="Use Ink wash").click()
    await expect(page.get_by_label("Weight of Ink wash")).to_be_visible()
    await page.get_by_label("Prompt", exact=True).fill("a red circle")
    await page.get_by_role("button", name="Generate Ctrl+Enter").click()
    await expect(page.get_by_role("img", name="a red circle").first).to_be_visible()
    job = person.end_of(newest_job(person).job_id)
    assert job.text_to_image.loras[0].model_id.startswith("own-")
    assert not job.images[0].partial_loras or job.images[0].partial_loras[0].applied_module_count == 2

    region = await own_loras(page)
    await region.get_by_role("button", name="Delete Ink wash").click()
    await expect(region.get_by_role("listitem")).to_have_count(0)
    await expect(page.get_by_role("button", name="Use Ink wash")).to_have_count(0)


async def test_bad_file_is_refused_with_its_reason(tab: Tab, studio: Stage, tmp_path: Path) -> None:
    tab.expects_refusals = True
    file = tmp_path / "bad.safetensors"
    file.write_bytes(overlapping())
    await tab.sign_in(studio.person("studio"))
    region = await own_loras(tab.page)
    await upload(region, file, "Lying")
    item = region.get_by_role("listitem", name="Lying")
    await expect(item).to_contain_text("refused")
    await expect(item).to_contain_text("overlaps")
    await expect(region).to_contain_text("0 of 50")


async def test_upload_that_broke_off_goes_on_with_the_same_file_only(tab: Tab, studio: Stage, tmp_path: Path) -> None:
    person, content = studio.person("studio"), lora_bytes()
    request = CreateLoraRequest(display_name="Half", family="tiny", size_bytes=len(content))
    LoraServiceStub(studio.channel).CreateLora(request, timeout=CALL_SECONDS, metadata=person.metadata)
    right, wrong = tmp_path / "right.safetensors", tmp_path / "wrong.safetensors"
    right.write_bytes(content)
    wrong.write_bytes(content + b"\0")
    await tab.sign_in(person)
    item = (await own_loras(tab.page)).get_by_role("listitem", name="Half")
    await expect(item).to_contain_text("upload incomplete")
    chooser = item.locator("input[type=file]")
    await chooser.set_input_files(wrong)
    await expect(item).to_contain_text("another file")
    await chooser.set_input_files(right)
    await expect(item).to_contain_text("ready")


@pytest.mark.parametrize("tier", ["free", "pro"])
async def test_plan_without_own_loras_shows_none(tab: Tab, studio: Stage, tier: str) -> None:
    await tab.sign_in(studio.person(tier))
    page = tab.page
    async with page.expect_response(lambda answer: answer.url.endswith("/ListLoras")):
        await page.get_by_role("link", name="Models").click()
    await expect(page.get_by_role("button", name="Use Pingvas Tiny")).to_be_visible()
    await expect(page.get_by_role("region", name="Your own LoRAs")).to_have_count(0)
