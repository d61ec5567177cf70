"""The page on which pictures are made: the prompt's own keys, models, LoRAs and sizes, shortcuts and news."""

import json
import re
from collections.abc import Iterator

import pytest
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.models.v1.model_service_pb2 import ListModelsRequest
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub
from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import CALL_SECONDS, Person, Stage, until
from tests.web.conftest import Tab

LORA = {
    "model_id": "ink",
    "display_name": "Ink wash",
    "kind": "lora",
    "is_default": False,
    "schedulers": [],
    "operations": [],
    "trigger_words": ["ink wash", "sumi-e"],
}


_NOTIFICATIONS = """
    window.told = [];
    window.Notification = class {
        static permission = "default";
        static async requestPermission() { return this.permission = "granted"; }
        constructor(title, { body }) { window.told.push([title, body]); }
    };
"""
_SET_HIDDEN = """(isHidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
def lora(studio: Stage) -> Iterator[None]:
    """A LoRA in the catalogue for the family of the built-in model; it has no files, so no job with it succeeds."""
    add = """
        INSERT INTO models.model_revisions
        SELECT (jsonb_populate_record(built_in, $1)).* FROM models.model_revisions AS built_in
        WHERE model_id = 'pingvas-tiny' AND is_served
    """
    studio.administer(lambda connection: connection.execute(add, json.dumps(LORA)))
    yield
    studio.administer(
        lambda connection: connection.execute("DELETE FROM models.model_revisions WHERE model_id = 'ink'")
    )


def newest_job(person: Person) -> job_pb2.Job:
    request = generation_service_pb2.ListJobsRequest(page_size=1)
    answer = person.generation.ListJobs(request, timeout=CALL_SECONDS, metadata=person.metadata)
    return answer.jobs[0]


def newest_operation(person: Person) -> job_pb2.TextToImage:
    return newest_job(person).text_to_image


def has_model(models: ModelServiceStub, person: Person, model_id: str) -> bool:
    page = models.ListModels(ListModelsRequest(page_size=200), timeout=CALL_SECONDS, metadata=person.metadata)
    return model_id in {model.model_id for model in page.models}


def prompt_of(page: Page) -> Locator:
    return page.get_by_label("Prompt", exact=True)


async def test_selected_words_are_weighed_and_that_can_be_undone(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    prompt = prompt_of(tab.page)
    await prompt.press_sequentially("a red circle")
    await prompt.press("Control+Shift+ArrowLeft")
    await prompt.press("Control+ArrowUp")
    await prompt.press("Control+ArrowUp")
    await expect(prompt).to_have_value("a red (circle:1.2)")
    await prompt.press("Control+ArrowDown")
    await expect(prompt).to_have_value("a red (circle:1.1)")
    await prompt.press("Control+z")
    await expect(prompt).to_have_value("a red (circle:1.2)")
    await prompt.press("Control+ArrowDown")
    await prompt.press("Control+ArrowDown")
    await expect(prompt).to_have_value("a red circle")


async def test_sent_prompts_come_back_until_signing_out(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.sign_in(person)
    prompt = prompt_of(tab.page)
    for text in ("a red circle", "a green triangle"):
        await prompt.fill(text)
        await prompt.press("Control+Enter")
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(2)
    await tab.page.reload()
    await prompt.fill("a blue")
    await prompt.press("Alt+ArrowUp")
    await expect(prompt).to_have_value("a green triangle")
    await prompt.press("Alt+ArrowUp")
    await expect(prompt).to_have_value("a red circle")
    await prompt.press("Alt+ArrowDown")
    await prompt.press("Alt+ArrowDown")
    await expect(prompt).to_have_value("a blue")

    await tab.page.get_by_role("button", name="Sign out").click()
    await expect(tab.page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    await tab.sign_in(person)
    await expect(prompt).to_have_value("")
    await prompt.press("Alt+ArrowUp")
    await expect(prompt).to_have_value("")


async def test_keys_of_a_composition_belong_to_the_input_method(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    prompt = prompt_of(tab.page)
    await prompt.fill("푸른 ")
    await prompt.press("End")
    devtools = await tab.page.context.new_cdp_session(tab.page)
    await devtools.send("Input.imeSetComposition", {"text": "바", "selectionStart": 1, "selectionEnd": 1})
    for keys in ("Control+ArrowUp", "Alt+ArrowUp", "Control+Enter"):
        await prompt.press(keys)
    await expect(prompt).to_have_value("푸른 바")
    await expect(tab.page.locator("li[data-state]")).to_have_count(0)
    await devtools.send("Input.insertText", {"text": "바다"})
    await expect(prompt).to_have_value("푸른 바다")
    await prompt.press("Control+ArrowUp")
    await expect(prompt).to_have_value("푸른 (바다:1.1)")


async def test_model_says_what_it_is_and_the_plan_what_it_lacks(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person("free"))
    await expect(tab.page.get_by_text("family tiny · licence CC0-1.0 · 256")).to_be_visible()
    await tab.page.get_by_text("Your plan lacks 3 families of models").click()
    await expect(tab.page.get_by_text("sdxl: from the plan pro")).to_be_visible()
    await expect(tab.page.get_by_role("radio")).to_have_count(1)
    await tab.page.get_by_text("More settings").click()
    await expect(tab.page.get_by_label("Steps")).to_have_attribute("placeholder", re.compile(r"^\d+$"))


async def test_loras_of_the_family_are_stacked_weighed_and_taken_off(tab: Tab, studio: Stage, lora: None) -> None:
    person = studio.person()
    models = ModelServiceStub(studio.channel)
    # The service reads the catalogue anew every few seconds.
    until(lambda: has_model(models, person, "ink"), "the LoRA in the catalogue")
    await tab.sign_in(person)
    await prompt_of(tab.page).fill("a boat")
    picker = tab.page.get_by_label("Add a LoRA")
    await picker.select_option("Ink wash")
    await expect(picker).to_have_count(0)  # there is no other
    await tab.page.get_by_label("Weight of Ink wash").fill("0.5")
    words = tab.page.get_by_role("list", name="Words that Ink wash answers to")
    await words.get_by_role("button", name="ink wash").click()
    await words.get_by_role("button", name="sumi-e").click()
    await expect(prompt_of(tab.page)).to_have_value("a boat, ink wash, sumi-e")
    await words.get_by_role("button", name="sumi-e").click()
    await expect(prompt_of(tab.page)).to_have_value("a boat, ink wash")
    await tab.page.get_by_role("button", name="Generate").click()
    await expect(tab.page.locator("li[data-state]")).to_have_count(1)
    assert [(each.model_id, each.weight) for each in newest_operation(person).loras] == [("ink", 0.5)]

    await tab.page.get_by_role("button", name="Remove the LoRA Ink wash").click()
    await expect(picker).to_be_visible()
    await expect(prompt_of(tab.page)).to_have_value("a boat")


async def test_shapes_stay_within_the_plan_and_the_last_seed_is_at_hand(tab: Tab, studio: Stage) -> None:
    person = studio.person("free")
    await tab.sign_in(person)
    await prompt_of(tab.page).fill("a red circle")
    shapes = tab.page.get_by_role("group", name="Aspect ratio")
    await shapes.get_by_role("button", name="16:9").click()
    await expect(tab.page.get_by_label("Size")).to_have_value("344x192")
    await tab.page.get_by_role("button", name="Swap width and height").click()
    await expect(shapes.get_by_role("button", name="9:16")).to_have_attribute("aria-pressed", "true")
    await tab.page.get_by_role("button", name="Generate").click()
    await expect(tab.page.locator("li[data-state=COMPLETED]")).to_have_count(1)
    operation = newest_operation(person)
    assert (operation.width_px, operation.height_px) == (192, 344)
    await tab.page.get_by_text("More settings").click()
    await tab.page.get_by_role("button", name="Take the last picture's seed").click()
    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value(str(operation.seed))


async def test_shortcuts_are_listed_and_the_palette_goes_everywhere(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    await prompt_of(tab.page).press_sequentially("why?")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await prompt_of(tab.page).blur()
    await tab.page.keyboard.press("?")
    shortcuts = tab.page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(shortcuts.get_by_text("Weigh the selected words")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(shortcuts).to_have_count(0)

    palette = tab.page.get_by_role("dialog", name="Commands")
    for wanted, path in (("gall", "gallery"), ("plan", "billing"), ("acc", "account")):
        await tab.page.keyboard.press("Control+k")
        await palette.get_by_role("combobox").fill(wanted)
        await tab.page.keyboard.press("Enter")
        await expect(palette).to_have_count(0)
        await expect(tab.page).to_have_url(re.compile(f"/{path}$"))
    await tab.page.keyboard.press("Control+k")
    await palette.get_by_role("option", name="Write a prompt").click()
    await expect(prompt_of(tab.page)).to_be_focused()
    await expect(prompt_of(tab.page)).to_have_value("why?")

    await tab.page.keyboard.press("Control+k")
    await palette.get_by_role("combobox").fill("no such thing")
    await expect(palette.get_by_text("Nothing is called that.")).to_be_visible()
    await palette.get_by_role("combobox").fill("")
    await tab.page.keyboard.press("ArrowUp")
    await tab.page.keyboard.press("Enter")  # the last one
    await expect(tab.page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


async def test_job_that_ends_behind_another_page_is_told_of(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.page.add_init_script(_NOTIFICATIONS)
    await tab.sign_in(person)
    with studio.busy_workers():
        job = person.create("a green triangle")
        ask = tab.page.get_by_role("button", name="Tell me when pictures are done")
        await ask.click()
        await expect(ask).to_have_count(0)
        await tab.page.evaluate(f"({_SET_HIDDEN})(true)")
    person.end_of(job.job_id)
    await expect(tab.page).to_have_title("Your picture is done · Pingvas Studio")
    assert await tab.page.evaluate("window.told") == [["Your picture is done", "a green triangle"]]
    await tab.page.evaluate(f"({_SET_HIDDEN})(false)")
    await expect(tab.page).to_have_title("Pingvas Studio")


async def test_queue_is_within_reach_on_a_phone(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.page.set_viewport_size({"width": 390, "height": 844})
    await tab.sign_in(person)
    with studio.busy_workers():
        job = person.create("a red circle")
        queue = tab.page.get_by_role("complementary", name="Jobs")
        await expect(queue.get_by_role("listitem")).to_have_count(1)
        await queue.get_by_role("button", name="Clear the queue").click()
        await tab.page.get_by_role("button", name="Cancel 1").click()
        await expect(queue).to_be_hidden()
    assert person.end_of(job.job_id).state == job_pb2.JOB_STATE_CANCELLED
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await tab.page.evaluate(overflow) == 0
