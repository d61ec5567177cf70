"""The catalogue in a browser: filters that the address keeps, what a plan lacks, and the way into the form."""

import re

import pytest
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import Stage, until
from tests.web.conftest import Tab
from tests.web.test_accessibility import grave_findings
from tests.web.test_generate import has_model, lora

__all__ = ["lora"]


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


async def test_models_are_found_by_what_they_are_and_used(tab: Tab, studio: Stage, lora: None) -> None:
    person, page = studio.person(), tab.page
    person.end_of(person.create("a red circle").job_id)
    models = ModelServiceStub(studio.channel)
    until(lambda: has_model(models, person, "ink"), "the LoRA in the catalogue")
    await tab.sign_in(person)
    await page.get_by_role("link", name="Models").click()
    tiny = card(page, "Pingvas Tiny")
    await expect(tiny).to_contain_text("CC0-1.0")
    await expect(tiny).to_contain_text("repaint a part")
    await expect(tiny.get_by_role("img", name="a red circle")).to_be_visible()

    await page.get_by_label("Kind").select_option("lora")
    await expect(tiny).to_have_count(0)
    await expect(card(page, "Ink wash")).to_contain_text("sumi-e")
    await page.reload()
    await expect(card(page, "Ink wash")).to_be_visible()
    await page.get_by_label("Search models").fill("pingvas")
    await expect(page.get_by_text("No model matches")).to_be_visible()
    await page.get_by_label("Kind").select_option("")
    await expect(tiny).to_be_visible()
    await expect(page).to_have_url(re.compile(r"/models\?q=pingvas$"))

    await page.get_by_label("Search models").fill("sumi")
    await page.get_by_role("button", name="Use Ink wash").click()
    await expect(page.get_by_label("Weight of Ink wash")).to_be_visible()


async def test_what_a_plan_lacks_is_said_plainly(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person("free"))
    await tab.page.goto("/models")
    lacking = tab.page.get_by_role("region", name="Your plan lacks 3 families of models")
    await expect(lacking).to_contain_text("sdxl: from the plan pro")
    await tab.page.get_by_role("button", name="Use Pingvas Tiny").click()
    await expect(tab.page.get_by_label("Model", exact=True)).to_have_value("pingvas-tiny")


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_catalogue_has_no_serious_findings_and_fits_a_phone(tab: Tab, studio: Stage, theme: str) -> None:
    page = tab.page
    await page.add_init_script(f"localStorage.setItem('pingvas.theme', '{theme}')")
    await page.set_viewport_size({"width": 360, "height": 780})
    await tab.sign_in(studio.person("free"))
    await page.goto("/models")
    await expect(card(page, "Pingvas Tiny")).to_be_visible()
    assert await grave_findings(page, "models") == []
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(overflow) == 0
