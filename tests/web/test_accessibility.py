"""What a program can see of whether people with disabilities can use the page."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.stage import Stage
from tests.web.conftest import Tab

_AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
_GRAVE = ("serious", "critical")


_STANDING_STILL = """() => Promise.allSettled(
    document.getAnimations()
        .filter((each) => each.effect.getTiming().iterations !== Infinity)
        .map((each) => each.finished)
)"""


async def grave_findings(page: Page, place: str) -> list[str]:
    """Returns what axe finds in what is shown now; colours are judged once they have stopped changing."""
    await page.evaluate(_STANDING_STILL)
    await page.evaluate(_AXE.read_text())
    report = await page.evaluate("axe.run()")
    assert "color-contrast" in {each["id"] for each in report["passes"]}, "axe has judged nothing"
    return [
        f"{place}: {finding['id']}: {node['target']}: {node['failureSummary']}"
        for finding in report["violations"]
        if finding["impact"] in _GRAVE
        for node in finding["nodes"]
    ]


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_pages_have_no_serious_findings(tab: Tab, studio: Stage, theme: str) -> None:
    person = studio.person()
    person.end_of(person.create("a red circle").job_id)
    await tab.page.add_init_script(f"localStorage.setItem('pingvas.theme', '{theme}')")
    findings: list[str] = []
    await tab.page.goto("/")
    await tab.page.get_by_role("button", name="Sign in", exact=True).wait_for()
    findings += await grave_findings(tab.page, "sign-in")

    await tab.sign_in(person)
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(1)
    await tab.page.get_by_text("More settings").click()
    findings += await grave_findings(tab.page, "generate")
    await tab.page.keyboard.press("Control+k")
    await tab.page.get_by_role("dialog").get_by_role("option").first.wait_for()
    findings += await grave_findings(tab.page, "palette")
    await tab.page.keyboard.press("Escape")
    grid = await tab.open_gallery()
    await grid.get_by_role("img", name="a red circle").wait_for()
    findings += await grave_findings(tab.page, "gallery")
    await tab.page.get_by_role("link", name="Plan", exact=True).click()
    await tab.page.get_by_text("Packs of credits").wait_for()
    findings += await grave_findings(tab.page, "billing")
    await tab.page.get_by_role("link", name="Account", exact=True).first.click()
    await tab.page.get_by_text(re.compile("this one")).wait_for()
    findings += await grave_findings(tab.page, "account")
    await tab.page.get_by_role("link", name="What you used").click()
    await tab.page.get_by_role("table").wait_for()
    findings += await grave_findings(tab.page, "usage")
    assert findings == []


async def test_every_page_fits_phones_and_large_screens_without_serious_findings(tab: Tab, studio: Stage) -> None:
    person = studio.person("studio")
    image_id = person.end_of(person.create("a red circle").job_id).images[0].image_id
    page = tab.page
    await tab.sign_in(person)
    too_wide: list[str] = []
    findings: list[str] = []
    for path in (
        "/",
        "/gallery",
        f"/gallery?image={image_id}",
        f"/edit/{image_id}",
        "/models",
        "/billing",
        "/account",
        "/account/security",
        "/account/identities",
        "/account/usage",
        "/pricing",
        "/status",
    ):
        await page.goto(path)
        for width, height in ((3840, 2160), (360, 780)):
            await page.set_viewport_size({"width": width, "height": height})
            await page.locator("h2, h1").first.wait_for(state="attached")
            if await page.evaluate("document.documentElement.scrollWidth") > width:
                too_wide.append(f"{path} at {width} px")
        findings += await grave_findings(page, f"{path} on a phone")
    assert too_wide == []
    assert findings == []


async def test_nothing_moves_for_who_asks_for_less_motion(tab: Tab, studio: Stage) -> None:
    page = tab.page
    await page.emulate_media(reduced_motion="reduce")
    person = studio.person()
    await tab.sign_in(person)
    with studio.busy_workers():
        person.create("a red circle")
        await expect(page.locator("li[data-state=QUEUED]")).to_have_count(1)
        # What pulses for others while a picture is waited for stands still.
        longest = await page.evaluate(
            "Math.max(0, ...document.getAnimations().map((each) => each.effect.getComputedTiming().activeDuration))"
        )
        assert longest < 10
