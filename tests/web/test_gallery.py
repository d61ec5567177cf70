"""The gallery in a browser: finding pictures, selecting many, starring, deleting and taking it back."""

import asyncio
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import Person, Stage
from tests.harness_browser import PATIENCE_MS
from tests.web.conftest import Tab
from tests.web.test_accessibility import grave_findings

PROMPTS = ("a red circle", "a blue square", "파란 네모", "a green triangle")


@pytest.fixture(scope="module")
def owner(studio: Stage) -> Person:
    person = studio.person()
    for prompt in PROMPTS:
        person.end_of(person.create(prompt).job_id)
    return person


def tile(page: Page, prompt: str):  # noqa: ANN201 - Playwright's own
    return page.get_by_role("region", name="Gallery").get_by_role("img", name=prompt, exact=True)


async def width_reaches(picture: Locator, is_reached: Callable[[float], bool]) -> None:
    """Waits for a width. Asked from here: the page's policy lets nobody evaluate a condition again and again inside it."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not ((box := await picture.bounding_box()) and is_reached(box["width"])):
            await picture.page.wait_for_timeout(50)


async def open_gallery(tab: Tab, owner: Person) -> Page:
    await tab.sign_in(owner)
    await tab.open_gallery()
    await expect(tile(tab.page, PROMPTS[0])).to_be_visible()
    return tab.page


async def test_search_narrows_the_gallery_and_stays_in_the_address(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    search = page.get_by_label("Search your pictures")
    await search.fill("squ")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await expect(tile(page, "a blue square")).to_be_visible()
    await search.fill("네모")
    await expect(tile(page, "파란 네모")).to_be_visible()
    await expect(tile(page, "a blue square")).to_have_count(0)
    await page.reload()
    await expect(search).to_have_value("네모")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await search.fill("nothing like it")
    await expect(page.get_by_text("No picture matches")).to_be_visible()


async def test_many_pictures_are_deleted_and_the_deletion_taken_back(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await page.get_by_label("Select: a green triangle").check()
    await tile(page, "a blue square").click(modifiers=["Shift"])
    await expect(page.get_by_text("3 selected")).to_be_visible()
    await page.keyboard.press("Delete")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await expect(page.get_by_text("3 pictures deleted.")).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_role("listitem")).to_have_count(4)
    await page.reload()
    await expect(page.get_by_role("listitem")).to_have_count(4)


async def test_bin_shows_what_was_deleted_and_gives_it_back(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await tile(page, "a red circle").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Delete")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("listitem")).to_have_count(3)
    await page.get_by_role("button", name="Bin").click()
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await page.get_by_label("Select: a red circle").check()
    await page.get_by_role("button", name="Restore").click()
    await expect(page.get_by_text("The bin is empty")).to_be_visible()
    await page.get_by_role("button", name="Bin").click()
    await expect(page.get_by_role("listitem")).to_have_count(4)


async def test_pictures_are_reviewed_by_keyboard_alone(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await tile(page, "a green triangle").click()
    viewer = page.get_by_role("dialog")
    await expect(viewer).to_be_visible()
    await page.keyboard.press("f")
    await expect(viewer.get_by_role("button", name="Take the star")).to_be_visible()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("4")
    await expect(viewer.get_by_role("button", name="4 of five")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("Escape")
    await expect(viewer).to_have_count(0)
    await page.get_by_role("button", name="Starred").click()
    await expect(tile(page, "a green triangle")).to_be_visible()
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await page.get_by_role("button", name="Starred").click()
    await page.get_by_label("Rating").select_option("4")
    await expect(page.get_by_role("listitem")).to_have_count(1)
    await expect(page).to_have_url(re.compile("rating=4"))
    await expect(tile(page, "파란 네모")).to_be_visible()


async def test_pictures_are_downloaded_as_a_zip(tab: Tab, studio: Stage, tmp_path: Path) -> None:
    owner = studio.person()
    for prompt in ("a red circle", "a blue square"):
        owner.end_of(owner.create(prompt).job_id)
    await tab.sign_in(owner)
    page = tab.page
    await tab.open_gallery()
    await page.get_by_label("Select: a red circle").check(force=True)
    await page.get_by_role("button", name="Download as zip").click()
    downloads = page.get_by_role("list", name="Downloads")
    async with page.expect_download() as downloading:
        await downloads.get_by_role("link", name="Download").click()
    await (await downloading.value).save_as(tmp_path / "one.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as found:
        names = found.namelist()
    assert [name.rpartition(".")[2] for name in names] == ["png", "json"]
    assert all(name.startswith("a red circle-") for name in names)
    await page.get_by_role("button", name="Delete this zip").click()
    await expect(downloads).to_be_hidden()

    await page.get_by_role("button", name="Deselect all").click()
    await page.get_by_role("button", name="Download all as zip").click()

    await expect(downloads.get_by_text("2 pictures")).to_be_visible()
    await expect(downloads.get_by_role("link", name="Download")).to_be_visible()


async def test_viewer_leads_to_what_a_picture_was_made_from_and_back(tab: Tab, studio: Stage) -> None:
    owner = studio.person()
    first = owner.end_of(owner.create("a red circle").job_id).images[0].image_id
    source = job_pb2.ImageSource(image_id=first)
    upscale = job_pb2.Upscale(source=source, prompt="larger circle")
    request = generation_service_pb2.CreateJobRequest(upscale=upscale)
    owner.end_of(owner.generation.CreateJob(request, metadata=owner.metadata).job_id)
    await tab.sign_in(owner)
    page = tab.page
    await page.goto(f"/gallery?image={first}")
    await page.get_by_role("region", name="Made into").get_by_role("button").click()
    await expect(page.get_by_role("dialog", name="larger circle")).to_be_visible()
    await page.get_by_role("region", name="Made from").get_by_role("button", name="Open: a red circle").click()
    await expect(page.get_by_role("dialog", name="a red circle")).to_be_visible()


async def test_picture_is_made_larger_from_the_viewer(tab: Tab, studio: Stage) -> None:
    owner = studio.person()
    first = owner.end_of(owner.create("a red circle").job_id).images[0]
    await tab.sign_in(owner)
    page = tab.page
    await page.goto(f"/gallery?image={first.image_id}")
    await page.get_by_role("button", name=re.compile("^Upscale")).click()
    await expect(page.get_by_role("dialog").get_by_role("status")).to_be_visible()
    await page.goto("/")
    await expect(page.locator("li[data-state=COMPLETED]")).to_have_count(2)
    sizes = studio.rows("SELECT width_px FROM gallery.images WHERE account_id = $1", UUID(str(owner.account_id)))
    assert sorted(row["width_px"] for row in sizes) == [64, 128]


async def test_keys_in_quick_succession_mean_the_picture_that_was_turned_to(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    for prompt in PROMPTS:
        person.end_of(person.create(prompt).job_id)
    page = await open_gallery(tab, person)
    await tile(page, PROMPTS[-1]).click()
    for key in ("ArrowRight", "2", "ArrowRight", "3", "ArrowRight", "4", "f"):
        await page.keyboard.press(key)
    viewer = page.get_by_role("dialog")
    await expect(viewer.get_by_role("button", name="4 of five")).to_have_attribute("aria-pressed", "true")
    await expect(viewer.get_by_role("button", name="Take the star")).to_be_visible()
    await expect(viewer.get_by_role("button", name="Next picture")).to_have_count(0)
    # The button that led here has gone with the focus on it; the keys still work.
    await page.keyboard.press("ArrowLeft")
    await expect(viewer.get_by_role("button", name="3 of five")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("ArrowLeft")
    await expect(viewer.get_by_role("button", name="2 of five")).to_have_attribute("aria-pressed", "true")


async def test_deletion_in_the_viewer_is_taken_back_by_its_key(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await tile(page, "a blue square").click()
    viewer = page.get_by_role("dialog", name="a blue square")
    await expect(viewer).to_be_visible()
    await page.keyboard.press("Delete")
    await expect(page.get_by_role("dialog", name="a red circle")).to_be_visible()
    await page.keyboard.press("Control+z")
    await expect(viewer).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("listitem")).to_have_count(4)


async def test_picture_is_looked_at_closely_and_its_size_taken_over(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    await tile(page, "a blue square").click()
    picture = page.get_by_role("dialog").get_by_role("img", name="a blue square")
    await expect(picture).to_be_visible()
    fitted = await picture.bounding_box()
    assert fitted
    await picture.hover()
    await page.mouse.wheel(0, -600)
    await width_reaches(picture, lambda width: width > 1.5 * fitted["width"])
    await page.keyboard.press("-")
    await page.keyboard.press("-")
    await page.keyboard.press("-")
    await width_reaches(picture, lambda width: width < fitted["width"] + 1)
    await page.keyboard.press("d")
    await expect(page.get_by_label("Size")).to_have_value("64x64")


async def test_pictures_in_a_rectangle_are_selected_and_two_are_compared(tab: Tab, owner: Person) -> None:
    page = await open_gallery(tab, owner)
    # Its trial waits until the tile stays where it is.
    await tile(page, "파란 네모").hover(trial=True)
    first = await tile(page, "a green triangle").bounding_box()
    second = await tile(page, "파란 네모").bounding_box()
    assert first
    assert second
    await page.mouse.move(first["x"] - 8, first["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(second["x"] + 20, second["y"] + 60, steps=5)
    await page.mouse.up()
    await expect(page.get_by_text("2 selected")).to_be_visible()
    await page.keyboard.press("c")
    comparison = page.get_by_role("dialog", name="Compare")
    await expect(comparison.get_by_role("img", name="a green triangle")).to_be_visible()
    await expect(comparison.get_by_role("row", name="Prompt a green triangle 파란 네모")).to_be_visible()
    await expect(comparison.get_by_role("row", name="Model")).to_have_count(0)
    await page.keyboard.press("m")
    await expect(comparison.get_by_label("Edge between before and after")).to_be_visible()
    assert await grave_findings(page, "comparison") == []
    await page.keyboard.press("Escape")
    await expect(comparison).to_have_count(0)
    await expect(page.get_by_text("2 selected")).to_be_visible()


async def test_pictures_stand_below_their_days_by_locale_and_the_address_keeps_it(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    for prompt in PROMPTS[:2]:
        person.end_of(person.create(prompt).job_id)
    moved = "UPDATE gallery.images SET create_time = '2026-01-05 12:00+00' WHERE account_id = $1 AND prompt = $2"
    account_id = UUID(str(person.account_id))
    studio.administer(lambda connection: connection.execute(moved, account_id, PROMPTS[0]))
    page = await open_gallery(tab, person)
    grid = page.get_by_role("region", name="Gallery")
    await expect(grid.get_by_role("heading")).to_have_count(0)
    await page.get_by_role("button", name="By day").click()
    await expect(grid.get_by_role("heading")).to_have_count(2)
    await expect(grid.get_by_role("heading").last).to_have_text("Monday, January 5, 2026")
    above = await tile(page, PROMPTS[1]).bounding_box()
    heading = await grid.get_by_role("heading").last.bounding_box()
    below = await tile(page, PROMPTS[0]).bounding_box()
    assert above
    assert heading
    assert below
    assert above["y"] < heading["y"] < below["y"]
    await page.get_by_label("Search your pictures").fill("red")
    await expect(grid.get_by_role("heading")).to_have_count(1)
    await expect(page).to_have_url(re.compile("days=true"))
    assert await grave_findings(page, "by day") == []
    await page.evaluate("localStorage.setItem('pingvas.language', 'ko')")
    await page.reload()
    await expect(page.get_by_role("heading", name="2026년 1월 5일 월요일")).to_be_visible()
