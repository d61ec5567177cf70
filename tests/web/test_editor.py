"""The editor: masks that are painted with a pointer, by touch or by keyboard, pictures that grow, and what comes of it."""

import io
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pingvas.gallery.v1.gallery_service_pb2 import GetImageRequest
from pingvas.generation.v1 import job_pb2
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import CALL_SECONDS, Person, Stage
from tests.web.conftest import Tab
from tests.web.test_accessibility import grave_findings
from tests.web.test_generate import newest_job

Pixels = NDArray[np.int16]
SIDE_PX = 192
PROMPT = "a red circle on a blue background"
_TOUCHES = """([canvas, kind, points]) => {
    const box = canvas.getBoundingClientRect();
    for (const [id, x, y] of points) {
        canvas.dispatchEvent(new PointerEvent(kind, {
            pointerId: id, pointerType: "touch", isPrimary: id === 2, bubbles: true, button: kind === "pointermove" ? -1 : 0,
            clientX: box.x + x, clientY: box.y + y,
        }));
    }
}"""
# A pointer that no finger made can't be captured.
_NO_CAPTURE = "Element.prototype.setPointerCapture = () => {}"


@pytest.fixture
def person(studio: Stage) -> Person:
    return studio.person()


@pytest.fixture
def drawn(person: Person) -> job_pb2.JobImage:
    """A picture of the person's gallery."""
    job = person.create(PROMPT, width_px=SIDE_PX, height_px=SIDE_PX, seed=5)
    return person.end_of(job.job_id).images[0]


async def open_editor(tab: Tab, person: Person, image: job_pb2.JobImage) -> Locator:
    """Opens a picture in the editor by its address and returns the canvas."""
    await tab.sign_in(person)
    await tab.page.goto(f"/edit/{image.image_id}")
    canvas = tab.page.get_by_role("application", name="Picture to paint on")
    await expect(canvas).to_be_visible()
    await expect(coverage(tab.page)).to_have_text("0 % is repainted")
    await tab.page.get_by_label("Soft edge").fill("0")
    return canvas


def coverage(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_text="is repainted")


async def place_on(canvas: Locator, x: float, y: float) -> tuple[float, float]:
    """Returns where a point of the picture is on the screen, which shows all of it at most four times as large."""
    box = await canvas.bounding_box()
    assert box
    scale = min(4.0, (box["width"] - 24) / SIDE_PX, (box["height"] - 24) / SIDE_PX)
    left, top = box["x"] + (box["width"] - SIDE_PX * scale) / 2, box["y"] + (box["height"] - SIDE_PX * scale) / 2
    return left + x * scale, top + y * scale


async def paint(page: Page, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draws a stroke with the mouse, between two points of the picture."""
    await page.mouse.move(*await place_on(canvas, *start))
    await page.mouse.down()
    await page.mouse.move(*await place_on(canvas, *end), steps=8)
    await page.mouse.up()


async def repaint(page: Page, prompt: str) -> Locator:
    await page.get_by_label("Prompt", exact=True).fill(prompt)
    await page.get_by_role("button", name="Repaint").click()
    result = page.get_by_role("region", name="Result")
    await expect(result).to_have_attribute("data-state", "COMPLETED")
    return result


def pixels_of(person: Person, image_id: str) -> Pixels:
    request = GetImageRequest(image_id=image_id)
    image = person.gallery.GetImage(request, timeout=CALL_SECONDS, metadata=person.metadata)
    content = httpx.get(image.content_url).raise_for_status().content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(np.int16)


async def test_painted_part_is_drawn_anew_and_the_rest_stays_as_it_is(
    tab: Tab, person: Person, drawn: job_pb2.JobImage
) -> None:
    page = tab.page
    canvas = await open_editor(tab, person, drawn)
    await expect(page.get_by_text(re.compile(r"about [\d.]+ credits"))).to_be_visible()
    await expect(page.get_by_role("button", name="Repaint")).to_be_disabled()
    await page.get_by_label("Brush size").fill("20")
    await paint(page, canvas, (96, 60), (96, 132))
    await expect(coverage(page)).to_have_text(re.compile(r"1\d % is repainted"))

    result = await repaint(page, "a green triangle on a yellow background")

    await expect(result.get_by_label("Edge between before and after")).to_be_visible()
    await expect(result.get_by_role("img", name="a green triangle")).to_have_js_property("naturalWidth", SIDE_PX)
    job = newest_job(person)
    assert job.inpaint.mask_feather_px == 0
    before, after = pixels_of(person, drawn.image_id), pixels_of(person, job.images[0].image_id)
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    from_stroke = np.hypot(columns - 96, rows - np.clip(rows, 60, 132))
    assert (before[from_stroke > 24] == after[from_stroke > 24]).all()
    assert np.abs(before[from_stroke < 10] - after[from_stroke < 10]).mean() > 5

    await result.get_by_role("link", name="Go on from this one").click()
    await expect(page).to_have_url(re.compile(f"/edit/{job.images[0].image_id}$"))
    await expect(coverage(page)).to_have_text("0 % is repainted")


async def test_each_step_is_taken_back_and_done_again(tab: Tab, person: Person, drawn: job_pb2.JobImage) -> None:
    page = tab.page
    canvas = await open_editor(tab, person, drawn)
    undo, redo = page.get_by_role("button", name="Undo"), page.get_by_role("button", name="Redo")
    await expect(undo).to_be_disabled()
    await page.get_by_label("Brush size").fill("20")
    await paint(page, canvas, (96, 60), (96, 132))
    painted = await coverage(page).inner_text()
    await page.keyboard.press("e")
    await paint(page, canvas, (60, 96), (132, 96))
    erased = await coverage(page).inner_text()
    await page.keyboard.press("i")
    await expect(coverage(page)).to_have_text(re.compile(r"[89]\d % is repainted"))
    await page.keyboard.press("g")
    await expect(coverage(page)).to_have_text("100 % is repainted")
    assert painted != erased
    for expected in (re.compile(r"[89]\d % is repainted"), erased, painted, "0 % is repainted"):
        await page.keyboard.press("Control+z")
        await expect(coverage(page)).to_have_text(expected)
    await expect(undo).to_be_disabled()
    await redo.click()
    await expect(coverage(page)).to_have_text(painted)
    await page.keyboard.press("Control+Shift+Z")
    await expect(coverage(page)).to_have_text(erased)


async def test_keyboard_and_fingers_paint_too(tab: Tab, person: Person, drawn: job_pb2.JobImage) -> None:
    page = tab.page
    await page.add_init_script(_NO_CAPTURE)
    canvas = await open_editor(tab, person, drawn)
    await canvas.focus()
    for key in ("Enter", "Shift+ArrowRight", "Shift+ArrowDown", "ArrowLeft"):
        await page.keyboard.press(key)
    await expect(coverage(page)).not_to_have_text("0 % is repainted")
    by_keys = await coverage(page).inner_text()

    handle = await canvas.element_handle()
    # Two fingers move and make larger; the stroke that the first one began is forgotten.
    for kind, points in (
        ("pointerdown", [[2, 300, 300], [3, 400, 300]]),
        ("pointermove", [[3, 600, 300]]),
        ("pointerup", [[2, 300, 300], [3, 600, 300]]),
    ):
        await page.evaluate(_TOUCHES, [handle, kind, points])
    await expect(coverage(page)).to_have_text(by_keys)
    await page.keyboard.press("Delete")
    await expect(coverage(page)).to_have_text("0 % is repainted")
    for kind in ("pointerdown", "pointerup"):
        await page.evaluate(_TOUCHES, [handle, kind, [[2, 400, 300]]])
    await expect(coverage(page)).not_to_have_text("0 % is repainted")


async def test_picture_grows_and_what_it_was_stays(tab: Tab, person: Person, drawn: job_pb2.JobImage) -> None:
    page = tab.page
    await open_editor(tab, person, drawn)
    await page.get_by_label("Right", exact=True).fill("64")
    await page.get_by_label("Top", exact=True).fill("32")
    await page.keyboard.press("Escape")

    await repaint(page, PROMPT)

    job = newest_job(person)
    before, after = pixels_of(person, drawn.image_id), pixels_of(person, job.images[0].image_id)
    assert after.shape == (SIDE_PX + 32, SIDE_PX + 64, 3)
    assert (after[32:, :SIDE_PX] == before).all()


async def test_mask_is_taken_from_a_file(tab: Tab, person: Person, drawn: job_pb2.JobImage, tmp_path: Path) -> None:
    page = tab.page
    await open_editor(tab, person, drawn)
    holes = np.full((64, 64, 4), (90, 120, 30, 255), np.uint8)
    holes[:, ::2, 0] = 220
    holes[:16, :, 3] = 0
    file = tmp_path / "erased.png"
    Image.fromarray(holes).save(file)
    chooser = page.locator("input[type=file]")
    await chooser.set_input_files(file)
    await expect(coverage(page)).to_have_text("25 % is repainted")
    await page.keyboard.press("Control+z")
    await expect(coverage(page)).to_have_text("0 % is repainted")
    file.write_bytes(b"no picture")
    await chooser.set_input_files(file)
    await expect(page.get_by_role("alert")).to_have_text("This file is no picture that can be read.")


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_editor_is_reached_from_the_viewer_and_has_no_serious_findings(
    tab: Tab, person: Person, drawn: job_pb2.JobImage, theme: str
) -> None:
    page = tab.page
    await page.add_init_script(f"localStorage.setItem('pingvas.theme', '{theme}')")
    await page.set_viewport_size({"width": 390, "height": 844})
    await tab.sign_in(person)
    grid = await tab.open_gallery()
    await grid.get_by_role("img", name=PROMPT).click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("e")
    await expect(page.get_by_role("application")).to_be_visible()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    assert await grave_findings(page, "editor") == []
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(overflow) == 0
