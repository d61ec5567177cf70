"""Recall in the page: a picture that is dropped, pasted or chosen fills the form, as does one that the gallery shows."""

import base64
import re
from pathlib import Path

import httpx
from pingvas.generation.v1 import job_pb2
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import Person, Stage
from tests.factories.noted import A1111_PARAMETERS, noted_png
from tests.factories.pictures import picture_bytes
from tests.web.conftest import Tab

SEED = 2**53 - 1
PROMPT = "a red circle on a blue background"
_HAND_OVER = """([kind, name, type, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    const init = { bubbles: true, cancelable: true };
    if (kind === "paste") {
        document.body.dispatchEvent(new ClipboardEvent("paste", { ...init, clipboardData: transfer }));
        return;
    }
    document.body.dispatchEvent(new DragEvent("dragenter", { ...init, dataTransfer: transfer }));
    document.body.dispatchEvent(new DragEvent("drop", { ...init, dataTransfer: transfer }));
}"""


async def hand_over(page: Page, kind: str, picture: bytes) -> None:
    """Drops or pastes a file on the page."""
    data = base64.b64encode(picture).decode()
    await page.evaluate(_HAND_OVER, [kind, "picture.png", "image/png", data])


def drawn_picture(studio: Stage, person: Person) -> bytes:
    """Returns the file of a picture that the person has made."""
    job = person.create(
        PROMPT, negative_prompt="fog", seed=SEED, step_count=3, width_px=128, height_px=192, scheduler="ddim"
    )
    image = person.end_of(job.job_id).images[0]
    return httpx.get(image.url).raise_for_status().content


def recipe_dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Recipe of this picture")


async def open_settings(page: Page) -> None:
    await page.get_by_text("More settings").click()


async def test_dropped_picture_fills_the_form_and_draws_the_same_again(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    picture = drawn_picture(studio, person)
    await tab.sign_in(person)
    await hand_over(tab.page, "drop", picture)
    dialog = recipe_dialog(tab.page)
    await expect(dialog.get_by_text(PROMPT)).to_be_visible()
    await expect(dialog.get_by_text("the same picture comes out")).to_be_visible()
    await dialog.get_by_role("button", name="Use all", exact=True).click()

    await expect(dialog).to_be_hidden()
    await expect(tab.page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    await expect(tab.page.get_by_label("Avoid")).to_have_value("fog")
    await expect(tab.page.get_by_label("Size")).to_have_value("128x192")
    await open_settings(tab.page)
    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value(str(SEED))
    await expect(tab.page.get_by_label("Scheduler")).to_have_value("ddim")
    await tab.page.get_by_role("button", name="Generate").click()
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(2)
    made = {
        row["sha256"]
        for row in studio.rows("SELECT sha256 FROM gallery.images WHERE account_id = $1", person.account_id)
    }
    assert len(made) == 1


async def test_pasted_picture_gives_its_prompt_or_its_seed_alone(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    picture = drawn_picture(studio, person)
    await tab.sign_in(person)
    prompt, size = tab.page.get_by_label("Prompt", exact=True), tab.page.get_by_label("Size")
    await size.select_option("512x512")
    await hand_over(tab.page, "paste", picture)
    await recipe_dialog(tab.page).get_by_role("button", name="Use the prompt").click()
    await expect(prompt).to_have_value(PROMPT)
    await open_settings(tab.page)
    seed = tab.page.get_by_label("Seed", exact=True)
    await expect(seed).to_have_value("")

    await prompt.fill("a green triangle")
    await hand_over(tab.page, "paste", picture)
    await recipe_dialog(tab.page).get_by_role("button", name="Use the seed").click()
    await expect(seed).to_have_value(str(SEED))
    await expect(prompt).to_have_value("a green triangle")
    await expect(size).to_have_value("512x512")


async def test_picture_of_another_tool_is_chosen_and_what_is_left_out_is_told(
    tab: Tab, studio: Stage, tmp_path: Path
) -> None:
    file = tmp_path / "foreign.png"
    file.write_bytes(noted_png(parameters=A1111_PARAMETERS))
    await tab.sign_in(studio.person())
    await tab.page.get_by_label("Use a picture's recipe").set_input_files(file)
    dialog = recipe_dialog(tab.page)
    await expect(dialog.get_by_text("Written by AUTOMATIC1111")).to_be_visible()
    await expect(dialog.get_by_text("Left out: Clip skip")).to_be_visible()
    await dialog.get_by_role("button", name="Use all but the seed").click()
    await expect(tab.page.get_by_label("Prompt", exact=True)).to_have_value("a heron, (blue:1.2)\nat dawn")
    await expect(tab.page.get_by_label("Size")).to_have_value("512x768")
    await open_settings(tab.page)
    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value("")


async def test_file_without_a_recipe_says_so_and_changes_nothing(tab: Tab, studio: Stage) -> None:
    tab.expects_refusals = True
    await tab.sign_in(studio.person())
    prompt = tab.page.get_by_label("Prompt", exact=True)
    await prompt.fill("a green triangle")
    await hand_over(tab.page, "drop", picture_bytes())
    await expect(tab.page.get_by_role("alert")).to_contain_text("it has no notes at all")
    await hand_over(tab.page, "drop", b"GIF89a")
    await expect(tab.page.get_by_role("alert")).to_contain_text("This file is no picture that can be read.")
    await expect(prompt).to_have_value("a green triangle")


async def test_pasted_text_still_goes_into_the_prompt(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    prompt = tab.page.get_by_label("Prompt", exact=True)
    await prompt.focus()
    await tab.page.evaluate("document.execCommand('insertText', false, 'a boat')")
    await prompt.press("Control+A")
    await prompt.press("Control+X")
    await prompt.press("Control+V")
    await expect(prompt).to_have_value("a boat")
    await expect(recipe_dialog(tab.page)).to_have_count(0)


async def test_viewer_of_the_gallery_gives_all_or_parts_of_what_made_a_picture(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    drawn_picture(studio, person)
    await tab.sign_in(person)
    for button, values in (
        ("Use the seed", ("", "", str(SEED))),
        ("Use the prompt", (PROMPT, "", str(SEED))),
        ("Use all but the seed", (PROMPT, "128x192", "")),
        ("Use all settings", (PROMPT, "128x192", str(SEED))),
    ):
        grid = await tab.open_gallery()
        await grid.get_by_role("img", name=PROMPT).click()
        await tab.page.get_by_role("dialog").get_by_role("button", name=button).click()
        await expect(tab.page).to_have_url(re.compile("/$"))
        await open_settings(tab.page)
        await expect(tab.page.get_by_label("Prompt", exact=True)).to_have_value(values[0])
        await expect(tab.page.get_by_label("Size")).to_have_value(values[1])
        await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value(values[2])


async def test_queue_is_cleared_after_saying_how_many_jobs_that_are(tab: Tab, studio: Stage) -> None:
    busy, person = studio.person("enterprise"), studio.person()
    running = busy.create("a green triangle", step_count=150, width_px=1024, height_px=1024, image_count=4)
    busy.reaches(running.job_id, job_pb2.JOB_STATE_RUNNING)
    jobs = [person.create(PROMPT) for _ in range(3)]
    await tab.sign_in(person)
    queue = tab.page.get_by_role("complementary", name="Jobs")
    await expect(queue.get_by_role("listitem")).to_have_count(3)
    await queue.get_by_role("button", name="Clear the queue").click()
    question = tab.page.get_by_role("dialog", name="Clear the queue")
    await expect(question.get_by_text("Waiting jobs: 3.")).to_be_visible()
    await question.get_by_role("button", name="Keep them").click()
    await expect(queue.get_by_role("listitem")).to_have_count(3)

    await queue.get_by_role("button", name="Clear the queue").click()
    await question.get_by_role("button", name="Cancel 3").click()

    await expect(question).to_have_count(0)
    await expect(queue.get_by_text("Nothing waits.")).to_be_visible()
    busy.cancel(running.job_id)
    assert {person.end_of(job.job_id).state for job in jobs} == {job_pb2.JOB_STATE_CANCELLED}
    assert person.balance().held == "0.000"


async def test_running_jobs_are_stopped_when_that_is_ticked(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    running = person.create("a green triangle", step_count=100, width_px=1024, height_px=1024, image_count=4)
    waiting = person.create(PROMPT)
    person.reaches(running.job_id, job_pb2.JOB_STATE_RUNNING)
    await tab.sign_in(person)
    await tab.page.get_by_role("button", name="Clear the queue").click()
    question = tab.page.get_by_role("dialog", name="Clear the queue")
    await question.get_by_role("checkbox", name="Also stop the running ones: 1.").check()
    await question.get_by_role("button", name="Cancel 2").click()
    await expect(question).to_have_count(0)
    assert {person.end_of(job.job_id).state for job in (running, waiting)} == {job_pb2.JOB_STATE_CANCELLED}
