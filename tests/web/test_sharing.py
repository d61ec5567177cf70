"""Links with a password and without download, made by one person and opened by another."""

from playwright.async_api import expect

from tests.e2e.stage import Stage
from tests.web.conftest import Tab


async def test_link_asks_a_stranger_for_its_password_and_offers_no_download(
    tab: Tab, stranger: Tab, studio: Stage
) -> None:
    owner = studio.person()
    image_id = owner.end_of(owner.create("a red circle").job_id).images[0].image_id
    await tab.sign_in(owner)
    page = tab.page
    await page.goto(f"/gallery?image={image_id}")
    await page.get_by_text("Share", exact=True).click()
    await page.get_by_label("Show a small copy only, without download").check()
    await page.get_by_label("Password for the link").fill("open, please")
    await page.get_by_role("button", name="Make a link").click()
    link = await page.get_by_label("Link", exact=True).input_value()
    await expect(page.get_by_text("with a password")).to_be_visible()

    await stranger.page.goto(link)
    await stranger.page.get_by_label("Password").fill("guessed")
    await stranger.page.get_by_role("button", name="Show the picture").click()
    await expect(stranger.page.get_by_text("That isn't the password of this link.")).to_be_visible()
    await stranger.page.get_by_label("Password").fill("open, please")
    await stranger.page.get_by_role("button", name="Show the picture").click()

    await expect(stranger.page.get_by_role("img", name="Shared picture")).to_be_visible()
    await expect(stranger.page.get_by_role("link", name="Download")).to_be_hidden()
    # What the browser says of refused calls.
    assert all("status of 4" in error for error in stranger.errors)
    stranger.errors.clear()
