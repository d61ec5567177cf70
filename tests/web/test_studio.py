"""The studio's page in a browser: what a person does in their first minutes."""

import re

from playwright.async_api import expect

from tests.e2e.stage import PASSWORD, Stage
from tests.web.conftest import Tab


async def test_newcomer_registers_and_is_told_what_a_picture_would_cost(tab: Tab) -> None:
    await tab.page.goto("/")
    await tab.page.get_by_role("button", name="New here? Create an account").click()
    await tab.page.get_by_label("E-mail address").fill("newcomer@example.com")
    await tab.page.get_by_label("Password").fill(PASSWORD)
    await tab.page.get_by_role("button", name="Create an account").click()
    await expect(tab.page.get_by_text(re.compile(r"about [\d.]+ credits"))).to_be_visible()
    await expect(tab.page.get_by_text("Your pictures appear here")).to_be_visible()


async def test_person_draws_a_picture_and_finds_it_in_the_gallery(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    prompt = tab.page.get_by_label("Prompt", exact=True)
    await prompt.fill("a red circle on a blue background")
    await prompt.press("Control+Enter")
    card = tab.page.locator("li[data-state=COMPLETED]")
    await expect(card).to_have_count(1)
    picture = card.locator("img")
    await expect(picture).to_have_js_property("naturalWidth", 256)
    await picture.click()
    viewer = tab.page.get_by_role("dialog")
    await expect(viewer.get_by_text("a red circle on a blue background")).to_be_visible()
    await tab.page.keyboard.press("p")
    await expect(tab.page).to_have_url(re.compile("/$"))
    await tab.page.get_by_role("link", name="Gallery").click()
    await expect(tab.page.get_by_role("img", name="a red circle on a blue background")).to_have_count(1)


async def test_reload_keeps_the_session_and_attaches_to_the_running_job(tab: Tab, studio: Stage) -> None:
    person = studio.person()
    await tab.sign_in(person)
    job = person.create("a green triangle", step_count=100, width_px=768, height_px=768)
    running = tab.page.locator("li[data-state=RUNNING]")
    await expect(running).to_be_visible()
    await tab.page.reload()
    await expect(running.get_by_text(re.compile(r"\d+ % · \d+ s left"))).to_be_visible()
    await running.get_by_role("button", name="Cancel this job").click()
    await expect(tab.page.locator("li[data-state=CANCELLED]")).to_be_visible()
    person.end_of(job.job_id)


async def test_refusal_is_shown_at_its_field(tab: Tab, studio: Stage) -> None:
    tab.expects_refusals = True
    await tab.sign_in(studio.person("free"))
    await tab.page.get_by_label("Prompt", exact=True).fill("a red circle")
    await tab.page.get_by_label("Size").select_option("1024x1024")
    await tab.page.get_by_role("button", name="Generate").click()
    size = tab.page.get_by_label("Size")
    await expect(size).to_have_attribute("aria-invalid", "true")
    await expect(tab.page.get_by_role("alert")).to_contain_text("768")


async def test_page_speaks_korean(tab: Tab, studio: Stage) -> None:
    await tab.sign_in(studio.person())
    await tab.page.get_by_role("button", name="Language").click()
    await expect(tab.page.get_by_label("프롬프트")).to_be_visible()
    await tab.page.reload()
    await expect(tab.page.get_by_role("button", name="만들기")).to_be_visible()


async def test_link_shows_a_picture_to_anybody_until_it_is_taken_back(tab: Tab, stranger: Tab, studio: Stage) -> None:
    person = studio.person()
    job = person.create("a yellow square on a purple background")
    person.end_of(job.job_id)
    await tab.sign_in(person)
    grid = await tab.open_gallery()
    await grid.get_by_role("img", name="a yellow square").click()
    viewer = tab.page.get_by_role("dialog")
    await viewer.get_by_text("Share", exact=True).click()
    await viewer.get_by_role("button", name="Make a link").click()
    url = await viewer.get_by_label("Link", exact=True).input_value()
    await viewer.get_by_role("button", name="Show as QR code").click()
    await expect(viewer.get_by_role("img", name=re.compile("QR code of"))).to_be_visible()

    await stranger.page.goto(url)
    picture = stranger.page.get_by_role("img", name="Shared picture")
    await expect(picture).to_have_js_property("naturalWidth", 64)
    await expect(stranger.page.get_by_text("a yellow square")).to_have_count(0)
    async with stranger.page.expect_download() as saving:
        await stranger.page.get_by_role("link", name="Download").click()
    saved = await (await saving.value).path()
    assert b"yellow" not in saved.read_bytes()

    await viewer.get_by_label("Show prompt, model and seed").check()
    await viewer.get_by_role("button", name="Make a link").click()
    await expect(viewer.get_by_label("Link", exact=True)).to_have_count(2)
    await stranger.page.goto(await viewer.get_by_label("Link", exact=True).last.input_value())
    await expect(stranger.page.get_by_text("a yellow square on a purple background")).to_be_visible()

    await viewer.get_by_role("button", name="Take the link back").first.click()
    await expect(viewer.get_by_label("Link", exact=True)).to_have_count(1)
    stranger.expects_refusals = True
    await stranger.page.goto(url)
    await expect(stranger.page.get_by_text("This link shows nothing")).to_be_visible()
