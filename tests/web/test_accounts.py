"""Accounts in a browser: confirming an address, passwords that were lost or change, and sessions."""

import asyncio
import re
from collections.abc import Iterator
from itertools import count

import pytest
from playwright.async_api import Browser, Page, expect

from studio.stack.mailbox import Mailbox, StoredMail
from tests.e2e.stage import PASSWORD, FleetPlan, Stage, running_stage
from tests.web.conftest import PATIENCE_MS, Tab

NEW_PASSWORD = "a horse of another colour"

_numbers = count(1)


@pytest.fixture(scope="module")
def strict_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet where an address must be confirmed before anybody signs in."""
    plan = FleetPlan(login_requires_verified_email=True)
    with running_stage(tmp_path_factory.mktemp("strict"), plan) as stage:
        yield stage


@pytest.fixture
def email() -> str:
    return f"member-{next(_numbers)}@example.com"


async def mailed(studio: Stage, email: str, subject: str) -> StoredMail:
    """Returns the mail with a subject, waiting until it is in the stack's mailbox."""
    mailbox = Mailbox(studio.fleet.layout.mail)
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            for mail in mailbox.mails(email):
                if mail.subject == subject:
                    return mail
            await asyncio.sleep(0.05)


async def register(page: Page, email: str) -> None:
    await page.goto("/")
    await page.get_by_role("button", name="New here? Create an account").click()
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create an account").click()
    await page.get_by_label("Prompt", exact=True).wait_for()


async def sign_in(page: Page, email: str, password: str) -> None:
    await page.goto("/")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def test_newcomer_confirms_the_address_and_gets_the_first_credits(tab: Tab, studio: Stage, email: str) -> None:
    page = tab.page
    await register(page, email)
    await expect(page.get_by_text("Your first credits come with it")).to_be_visible()
    await expect(page.get_by_title("Credits that you can spend")).to_have_text("0 credits")

    await page.goto((await mailed(studio, email, "Confirm your e-mail address")).link)
    await page.get_by_role("button", name="Confirm the address").click()
    await expect(page.get_by_text(f"{email} is confirmed.")).to_be_visible()
    # The token stays neither in the address nor in what the browser remembers of it.
    assert page.url == f"{studio.fleet.http}/verify-email"

    await page.get_by_role("link", name="Back to the studio").click()
    await expect(page.get_by_title("Credits that you can spend")).to_have_text("100 credits")
    await expect(page.get_by_text("Your first credits come with it")).to_have_count(0)


async def test_link_that_was_used_says_so(tab: Tab, studio: Stage, email: str) -> None:
    page = tab.page
    await register(page, email)
    link = (await mailed(studio, email, "Confirm your e-mail address")).link
    for answer in (f"{email} is confirmed.", "The link was used before"):
        await page.goto("about:blank")
        await page.goto(link)
        await page.get_by_role("button", name="Confirm the address").click()
        await expect(page.get_by_text(answer)).to_be_visible()


async def test_lost_password_is_replaced_and_ends_other_sessions(
    tab: Tab, browser: Browser, studio: Stage, email: str
) -> None:
    tab.expects_refusals = True
    await register(tab.page, email)
    elsewhere = await browser.new_context(base_url=studio.fleet.http, locale="en-GB")
    elsewhere.set_default_timeout(PATIENCE_MS)
    page = await elsewhere.new_page()
    await page.goto("/")
    await page.get_by_role("link", name="Forgot the password?").click()
    # The form for signing in has a field of the same name.
    await page.get_by_role("heading", name="Forgot the password?").wait_for()
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_role("button", name="Mail me a link").click()
    await expect(page.get_by_text(f"If {email} has an account")).to_be_visible()

    await page.goto((await mailed(studio, email, "Choose a new password")).link)
    await page.get_by_label("New password").fill("password123")
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_text("guessed first")).to_be_visible()
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_label("Prompt", exact=True).wait_for()

    await tab.page.reload()
    await expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await sign_in(tab.page, email, PASSWORD)
    await expect(tab.page.get_by_role("alert")).to_be_visible()
    await elsewhere.close()


async def test_person_changes_the_password_and_ends_a_session(
    tab: Tab, browser: Browser, studio: Stage, email: str
) -> None:
    page = tab.page
    await register(page, email)
    phones = [await browser.new_context(base_url=studio.fleet.http, locale="en-GB") for _ in range(2)]
    for phone in phones:
        phone.set_default_timeout(PATIENCE_MS)
        other = await phone.new_page()
        await sign_in(other, email, PASSWORD)
        await other.get_by_label("Prompt", exact=True).wait_for()

    await page.get_by_role("link", name="Account").first.click()
    sessions = page.get_by_role("region", name="Sessions").get_by_role("listitem")
    await expect(sessions).to_have_count(3)
    await expect(sessions.filter(has_text="this one")).to_have_count(1)
    await expect(sessions.first).to_contain_text(re.compile(r"Chrome on \w+"))
    await sessions.filter(has_not_text="this one").first.get_by_role("button", name="End").click()
    await expect(sessions).to_have_count(2)

    await page.get_by_label("Present password").fill(PASSWORD)
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_text("The password is changed.")).to_be_visible()
    await expect(sessions).to_have_count(1)
    assert (await mailed(studio, email, "Your password was changed")).to == email
    for phone in phones:
        await phone.close()


async def test_person_changes_the_address_and_takes_the_old_one_back(tab: Tab, studio: Stage, email: str) -> None:
    page, new_email = tab.page, f"new-{email}"
    await register(page, email)
    await page.goto((await mailed(studio, email, "Confirm your e-mail address")).link)
    await page.get_by_role("button", name="Confirm the address").click()
    await page.get_by_role("link", name="Back to the studio").click()
    await page.get_by_role("link", name="Account").first.click()
    section = page.get_by_role("region", name="E-mail address")
    await section.get_by_text("Change the address").click()
    await section.get_by_label("New e-mail address").fill(new_email)
    await section.get_by_label("Password").fill(PASSWORD)
    await section.get_by_role("button", name="Mail me a link").click()
    await expect(section.get_by_text(f"We sent a mail to {new_email}")).to_be_visible()

    await page.goto((await mailed(studio, new_email, "Confirm your new e-mail address")).link)
    await page.get_by_role("button", name="Make it my address").click()
    await expect(page.get_by_text(f"Your address is {new_email} now.")).to_be_visible()

    await page.goto((await mailed(studio, email, "Your e-mail address was changed")).link)
    await page.get_by_role("button", name="Take it back").click()
    await expect(page.get_by_text(f"Your address is {email} again.")).to_be_visible()
    assert (await mailed(studio, email, "Choose a new password")).to == email


async def test_person_closes_the_account_and_keeps_it_after_all(tab: Tab, studio: Stage, email: str) -> None:
    page = tab.page
    await register(page, email)
    await page.get_by_role("link", name="Account").first.click()
    section = page.get_by_role("region", name="Delete the account")
    await section.get_by_text("Delete my account").click()
    await section.get_by_label("Password").fill(PASSWORD)
    await section.get_by_role("button", name="Close my account").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert (await mailed(studio, email, "Your account will be deleted")).to == email

    await sign_in(page, email, PASSWORD)
    await expect(page.get_by_role("heading", name="Your account is closed")).to_be_visible()
    await expect(page.get_by_text("It will be erased on")).to_be_visible()
    await page.get_by_role("button", name="Keep my account").click()
    await page.get_by_label("Prompt", exact=True).wait_for()
    # The console may tell of the refused calls.
    assert [error for error in tab.errors if "403" not in error] == []
    tab.errors.clear()


async def test_page_and_mails_speak_korean(browser: Browser, studio: Stage, email: str) -> None:
    context = await browser.new_context(base_url=studio.fleet.http, locale="ko-KR")
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto("/")
    await page.get_by_role("button", name="처음이신가요? 계정 만들기").click()
    await page.get_by_label("이메일 주소").fill(email)
    await page.get_by_label("비밀번호").fill(PASSWORD)
    await page.get_by_role("button", name="계정 만들기").click()

    await page.goto((await mailed(studio, email, "이메일 주소를 확인해 주세요")).link)
    await page.get_by_role("button", name="주소 확인하기").click()
    await expect(page.get_by_text(f"{email} 주소가 확인되었습니다.")).to_be_visible()
    await context.close()


async def test_program_gets_a_key_that_is_shown_once(tab: Tab, studio: Stage, email: str) -> None:
    page = tab.page
    await register(page, email)
    await page.get_by_role("link", name="Account").first.click()
    keys = page.get_by_role("region", name="API keys")
    await keys.get_by_label("Name of the key").fill("build server")
    await keys.get_by_role("button", name="Make a key").click()
    await expect(keys.get_by_text("Confirm your e-mail address first")).to_be_visible()

    link = (await mailed(studio, email, "Confirm your e-mail address")).link
    await page.goto(link)
    await page.get_by_role("button", name="Confirm the address").click()
    await page.get_by_role("link", name="Back to the studio").click()
    await page.get_by_role("link", name="Account").first.click()
    await keys.get_by_label("Name of the key").fill("build server")
    await keys.get_by_role("button", name="Make a key").click()
    key = await keys.locator("code").inner_text()
    answer = studio.http.get("/api/v1/users/me", headers={"x-api-key": key})
    assert answer.json()["email"] == email

    await page.reload()
    await expect(keys.get_by_role("listitem")).to_contain_text("build server")
    await expect(keys.get_by_role("listitem")).to_contain_text("last used")
    await expect(keys.locator("code")).to_have_count(0)
    await keys.get_by_text("Limit", exact=True).click()
    limits = keys.get_by_role("listitem")
    await limits.get_by_label("Credits a day").fill("a lot")
    await limits.get_by_role("button", name="Save the limits").click()
    await expect(limits.get_by_role("alert").first).to_contain_text("decimal number of credits")
    await limits.get_by_label("Credits a day").fill("2.5")
    await limits.get_by_label("Models").fill("pingvas-tiny, sdxl")
    await limits.get_by_role("button", name="Save the limits").click()
    await expect(limits).to_contain_text("2.5 credits a day · models: pingvas-tiny, sdxl")
    # The console tells of the refused calls.
    assert [error for error in tab.errors if "400" not in error] == []
    tab.errors.clear()
    await keys.get_by_role("button", name="Delete").click()
    await expect(keys.get_by_role("listitem")).to_have_count(0)


async def test_newcomer_confirms_before_signing_in_where_the_deployment_wants_it(
    browser: Browser, strict_studio: Stage, email: str
) -> None:
    context = await browser.new_context(base_url=strict_studio.fleet.http, locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    for password in (PASSWORD, NEW_PASSWORD):
        # The second time the address is taken, and the page says the same.
        await page.goto("/")
        await page.get_by_role("button", name="New here? Create an account").click()
        await page.get_by_label("E-mail address").fill(email)
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Create an account").click()
        await expect(page.get_by_text(f"We sent a mail to {email}.")).to_be_visible()

    await page.goto((await mailed(strict_studio, email, "Confirm your e-mail address")).link)
    await page.get_by_role("button", name="Confirm the address").click()
    await expect(page.get_by_text(f"{email} is confirmed.")).to_be_visible()
    assert (await mailed(strict_studio, email, "Somebody tried to register with your address")).to == email
    await sign_in(page, email, PASSWORD)
    await page.get_by_label("Prompt", exact=True).wait_for()
    await context.close()
