"""The profile in a browser: name, picture, language of mails, and what the jobs used."""

import io

from PIL import Image
from playwright.async_api import FilePayload, expect

from tests.e2e.stage import Stage
from tests.web.conftest import Tab


def png() -> FilePayload:
    encoded = io.BytesIO()
    Image.new("RGB", (300, 200), (220, 20, 20)).save(encoded, "PNG")
    return {"name": "me.png", "mimeType": "image/png", "buffer": encoded.getvalue()}


async def test_person_changes_name_picture_and_language(tab: Tab, studio: Stage) -> None:
    page = tab.page
    await tab.sign_in(studio.person())
    await page.get_by_role("link", name="Account").first.click()
    profile = page.get_by_role("region", name="Profile")

    await profile.get_by_label("Name").fill("Ada L.")
    await profile.get_by_label("Language of mails").select_option("한국어")
    await profile.get_by_role("button", name="Save").click()
    await expect(profile.get_by_text("Saved.")).to_be_visible()
    await profile.get_by_label("Choose a picture").set_input_files(png())
    await expect(profile.locator("img")).to_be_visible()
    await expect(page.get_by_role("banner").locator("img")).to_be_visible()

    await page.reload()
    await expect(profile.get_by_label("Name")).to_have_value("Ada L.")
    await expect(profile.get_by_label("Language of mails")).to_have_value("ko")
    await expect(profile.locator("img")).to_be_visible()
    await profile.get_by_role("button", name="Remove the picture").click()
    await expect(profile.locator("img")).to_have_count(0)

    no_picture: FilePayload = {"name": "me.png", "mimeType": "image/png", "buffer": b"no picture"}
    await profile.get_by_label("Choose a picture").set_input_files(no_picture)
    await expect(profile.get_by_role("alert")).to_contain_text("is no PNG, JPEG or WebP")


async def test_picture_of_the_gallery_stands_for_its_owner(tab: Tab, studio: Stage) -> None:
    page, person = tab.page, studio.person()
    person.end_of(person.create("a red circle").job_id)
    await tab.sign_in(person)
    grid = await tab.open_gallery()
    await grid.get_by_role("img", name="a red circle").click()
    await page.get_by_role("button", name="Use as profile picture").click()
    await page.get_by_text("Saved.").wait_for()
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_role("banner").locator("img")).to_be_visible()


async def test_usage_is_shown_by_day_and_model(tab: Tab, studio: Stage) -> None:
    page, person = tab.page, studio.person()
    ends = [person.end_of(person.create("a red circle").job_id) for _ in range(2)]
    await tab.sign_in(person)
    await page.get_by_role("link", name="Account").first.click()
    await page.get_by_role("link", name="What you used").click()

    row = page.get_by_role("row", name="pingvas-tiny")
    await expect(row.get_by_role("cell")).to_have_count(3)
    spent = sum(round(1000 * float(end.credits_used)) for end in ends)
    await expect(row.get_by_role("cell").nth(0)).to_have_text(f"{spent / 1000:g}")
    await expect(row.get_by_role("cell").nth(1)).to_have_text("2")
    await expect(page.get_by_role("definition")).to_have_count(3)
    await expect(page.get_by_role("definition").first).to_have_text("100%")
    chart = page.locator("canvas")
    await expect(chart).to_be_visible()
    await page.get_by_label("Show").select_option("Pictures")
    await page.get_by_label("Time").select_option("the last 7 days")
    await expect(chart).to_be_visible()
