"""Templates in a browser: filled by a form, used by a job, kept, taken out as a file and in again; and styles."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.e2e.stage import Person, Stage
from tests.web.conftest import Tab


@pytest.fixture
def owner(studio: Stage) -> Person:
    return studio.person()


async def open_templates(tab: Tab) -> Locator:
    await tab.page.get_by_role("button", name="Start from a template").click()
    return tab.page.get_by_role("dialog", name="Templates")


async def test_template_is_filled_by_a_form_and_its_job_is_counted(tab: Tab, owner: Person) -> None:
    await tab.sign_in(owner)
    page = tab.page
    dialog = await open_templates(tab)
    await dialog.get_by_role("region", name="Products").get_by_role("button", name="Product photo").click()
    form = page.get_by_role("dialog", name="Product photo")
    await form.get_by_role("button", name="Put it into the prompt").click()
    await expect(form.get_by_text("must be given")).to_be_visible()
    await form.get_by_label("Product", exact=True).fill("a red teapot")
    await form.get_by_label("Background").select_option("a marble table")
    await form.get_by_role("button", name="Put it into the prompt").click()
    await expect(form).to_be_hidden()
    prompt = page.get_by_label("Prompt", exact=True)
    await expect(prompt).to_have_value(re.compile("^product photograph of a red teapot on a marble table, soft"))
    await expect(page.get_by_label("Avoid")).to_have_value(re.compile("^text, watermark"))
    await prompt.fill("a red circle")
    await page.get_by_label("Style", exact=True).select_option(label="Oil painting")
    await page.get_by_label("Size", exact=True).select_option("256x256")

    await page.get_by_role("button", name=re.compile("^Generate")).click()

    await expect(page.get_by_role("img", name=re.compile("^oil painting of a red circle, visible"))).to_be_visible()
    await page.reload()
    dialog = await open_templates(tab)
    await expect(dialog.get_by_role("button", name=re.compile("^Product photo.*used once"))).to_be_visible()


async def test_prompt_is_kept_as_a_template_taken_out_and_in_again(tab: Tab, owner: Person, tmp_path: Path) -> None:
    await tab.sign_in(owner)
    page = tab.page
    await page.get_by_label("Prompt", exact=True).fill("a boat at sea")
    dialog = await open_templates(tab)
    await dialog.get_by_label("Keep the present prompt as").fill("Boat")
    await dialog.get_by_role("button", name="Keep", exact=True).click()
    own = dialog.get_by_role("region", name="My templates")
    await expect(own.get_by_role("button", name=re.compile("^Boat"))).to_be_visible()
    async with page.expect_download() as downloading:
        await dialog.get_by_role("button", name="Save my templates as a file").click()
    file = tmp_path / "templates.json"
    await (await downloading.value).save_as(file)
    assert [content["name"] for content in json.loads(file.read_text())["templates"]] == ["Boat"]
    await dialog.get_by_role("button", name="Delete template: Boat").click()
    await expect(own).to_be_hidden()
    chooser = dialog.locator("input[type=file]")
    (tmp_path / "broken.json").write_text("no file of templates")
    await chooser.set_input_files(tmp_path / "broken.json")
    await expect(dialog.get_by_text("This is no file of templates.")).to_be_visible()
    await chooser.set_input_files(file)
    await expect(dialog.get_by_text("1 template was added.")).to_be_visible()
    await own.get_by_role("button", name=re.compile("^Boat")).click()
    await page.get_by_role("dialog", name="Boat").get_by_role("button", name="Put it into the prompt").click()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("a boat at sea")


async def test_templates_speak_korean(tab: Tab, owner: Person) -> None:
    await tab.sign_in(owner)
    await tab.page.get_by_role("button", name="Language: 한국어").click()
    await tab.page.get_by_role("button", name="템플릿으로 시작하기").click()
    await expect(tab.page.get_by_role("button", name=re.compile("^제품 사진"))).to_be_visible()
