"""Two-step sign-in in a browser: set up by a QR code, asked for at the next sign-in, and seen in the list of activity."""

import time
from itertools import count

import pyotp
import pytest
from playwright.async_api import Page, expect

from tests.e2e.stage import PASSWORD, Stage
from tests.web.conftest import Tab
from tests.web.test_accounts import register, sign_in

_numbers = count(1)


@pytest.fixture
def email() -> str:
    return f"careful-{next(_numbers)}@example.com"


async def turn_on(page: Page) -> list[str]:
    """Turns two-step sign-in on, and returns the recovery codes."""
    await page.goto("/account/security")
    await page.get_by_role("button", name="Turn it on").click()
    await expect(page.get_by_role("img", name="QR code for the authenticator app")).to_be_visible()
    form = page.get_by_role("form", name="Confirm")
    secret = await form.locator("p.font-mono").inner_text()
    await form.get_by_role("textbox", name="Code").fill(pyotp.TOTP(secret).at(int(time.time())))
    await form.get_by_role("button", name="Confirm").click()
    codes = page.get_by_role("list", name="Recovery codes").get_by_role("listitem")
    await expect(codes).to_have_count(10)
    return await codes.all_inner_texts()


async def forget_session(page: Page) -> None:
    """Signs the browser out without a word to the server."""
    # A page that is left gives up the renewal that it may wait for, whose answer would set the cookie again.
    await page.goto("about:blank")
    await page.context.clear_cookies()


async def test_second_step_is_set_up_and_asked_for(tab: Tab, studio: Stage, email: str) -> None:
    # Of the code that isn't right.
    tab.expects_refusals = True
    page = tab.page
    await register(page, email)
    codes = await turn_on(page)
    await expect(page.get_by_text("It is on. Recovery codes left: 10.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("Two-step sign-in was turned on")).to_be_visible()
    await expect(page.get_by_text(codes[0])).to_have_count(0)

    await forget_session(page)
    await sign_in(page, email, PASSWORD)
    await expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    # No session has begun: whoever opens the page anew is asked from the start.
    await page.get_by_role("textbox", name="Code").fill("wrong code")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_text("This code isn't right")).to_be_visible()
    await page.get_by_role("textbox", name="Code").fill(codes[0])
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_label("Prompt", exact=True).wait_for()

    await page.goto("/account/security")
    await expect(page.get_by_text("It is on. Recovery codes left: 9.")).to_be_visible()
    await expect(page.get_by_text("A recovery code was used")).to_be_visible()
    await page.get_by_text("Change or turn off").click()
    form = page.get_by_role("form", name="Turn it off")
    await form.get_by_role("textbox", name="Code").fill(codes[1])
    await form.get_by_role("button", name="Turn it off").click()
    await expect(page.get_by_role("button", name="Turn it on")).to_be_visible()


async def test_challenge_is_in_a_cookie_that_no_script_reads(tab: Tab, studio: Stage, email: str) -> None:
    page = tab.page
    await register(page, email)
    await turn_on(page)
    await forget_session(page)

    await sign_in(page, email, PASSWORD)
    await expect(page.get_by_role("heading", name="One more step")).to_be_visible()

    (cookie,) = [each for each in await page.context.cookies() if "challenge" in each["name"]]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/session")
    assert "challenge" not in await page.evaluate("document.cookie")
    assert not [each for each in await page.context.cookies() if "refresh" in each["name"]]


async def test_another_address_needs_a_code_beside_the_password(tab: Tab, studio: Stage, email: str) -> None:
    # Of the password alone.
    tab.expects_refusals = True
    page, new_email = tab.page, f"new-{email}"
    await register(page, email)
    codes = await turn_on(page)
    await page.goto("/account")
    section = page.get_by_role("region", name="E-mail address")
    await section.get_by_text("Change the address").click()
    await section.get_by_label("New e-mail address").fill(new_email)
    await section.get_by_label("Password").fill(PASSWORD)
    await expect(section.get_by_role("textbox", name="Code")).to_have_count(0)
    await section.get_by_role("button", name="Mail me a link").click()
    await expect(section.get_by_text("give a code of your authenticator app as well")).to_be_visible()
    await section.get_by_role("textbox", name="Code").fill(codes[0])
    await section.get_by_role("button", name="Mail me a link").click()
    await expect(section.get_by_text(f"We sent a mail to {new_email}")).to_be_visible()
    await page.goto("/account/security")
    await expect(page.get_by_text("A link to another e-mail address was asked for")).to_be_visible()
