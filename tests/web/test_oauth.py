"""Signing in at a provider in a browser: the buttons, the provider's own page, the way back through the edge, and failures."""

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from studio.cli.credentials import Credentials
from tests.e2e.stage import Stage
from tests.factories.sign_ins import StandIns
from tests.fakes.providers import Account, Fault, StandIn
from tests.web.conftest import Tab

_PATIENCE_SECONDS = 60.0


def account_at(stand_in: StandIn, name: str, **fields: object) -> Account:
    """Makes an account at a provider."""
    subject = str(10**17 + len(stand_in.accounts))
    account = Account(**{"subject": subject, "email": f"{name.lower()}@example.com", "name": name} | fields)  # type: ignore[arg-type]
    stand_in.accounts.append(account)
    return account


async def continue_with(tab: Tab, provider: str, account: str) -> None:
    """Follows a provider's button and answers on its page; the browser then comes back by itself."""
    await tab.page.get_by_role("link", name=f"Continue with {provider}").click()
    await tab.page.get_by_role("button", name=account, exact=True).click()


async def open_identities(tab: Tab) -> None:
    """Goes to the page of ways to sign in, by that of the account."""
    await tab.page.get_by_role("banner").get_by_role("link", name="Account").click()
    await tab.page.get_by_role("link", name="See, link and unlink them").click()


async def identity_of(tab: Tab) -> str:
    """Returns what the page of ways to sign in shows, which names the address."""
    await open_identities(tab)
    await tab.page.get_by_role("button", name="Unlink").wait_for()
    # The other provider, which is asked for by a call of its own.
    await tab.page.get_by_role("button", name=re.compile("^Link ")).wait_for()
    return await tab.page.get_by_role("list").inner_text()


@pytest.mark.parametrize("provider", ["Google", "Discord"])
async def test_person_signs_in_and_out_and_in_again_to_the_same_account(
    tab: Tab, studio: Stage, stand_ins: StandIns, provider: str
) -> None:
    account = account_at(stand_ins.named(provider.lower()), f"Maya{provider}")
    await tab.page.goto("/")
    await continue_with(tab, provider, account.name)
    await tab.page.get_by_label("Prompt", exact=True).wait_for()
    assert tab.page.url == f"{studio.fleet.http}/"
    first = await identity_of(tab)
    await tab.page.get_by_role("button", name="Sign out").click()
    await continue_with(tab, provider, account.name)
    await tab.page.get_by_label("Prompt", exact=True).wait_for()
    await tab.page.reload()
    await tab.page.get_by_label("Prompt", exact=True).wait_for()

    assert f"{account.email} · linked on" in first
    assert await identity_of(tab) == first
    found = studio.rows("SELECT email_verified FROM users.users WHERE email = $1", account.email)
    assert [tuple(row) for row in found] == [(True,)]


async def test_cancelled_consent_is_told_in_words(tab: Tab, stand_ins: StandIns) -> None:
    await tab.page.goto("/")
    await continue_with(tab, "Google", "Cancel")
    await expect(tab.page.get_by_role("alert")).to_have_text("You cancelled at Google. Nothing was changed.")
    await expect(tab.page.get_by_label("E-mail address")).to_be_visible()


async def test_address_of_a_local_account_leads_to_signing_in_and_linking(
    tab: Tab, studio: Stage, stand_ins: StandIns
) -> None:
    person = studio.person("free")
    account = account_at(stand_ins.google, "Noor", email=person.email)
    await tab.page.goto("/")
    await continue_with(tab, "Google", account.name)
    await expect(tab.page.get_by_role("alert")).to_contain_text("then link Google under “Ways to sign in”")
    await tab.sign_in(person)
    await open_identities(tab)
    await tab.page.get_by_role("button", name="Link Google").click()
    await tab.page.get_by_role("button", name=account.name).click()
    await expect(tab.page.get_by_text(f"{person.email} · linked on")).to_be_visible()
    await tab.page.get_by_role("button", name="Unlink Google").click()
    await expect(tab.page.get_by_role("button", name="Link Google")).to_be_visible()


async def test_only_way_in_cannot_be_unlinked(tab: Tab, stand_ins: StandIns) -> None:
    account = account_at(stand_ins.discord, "Kim")
    await tab.page.goto("/")
    await continue_with(tab, "Discord", account.name)
    await open_identities(tab)
    await expect(tab.page.get_by_role("button", name="Unlink Discord")).to_be_disabled()
    await expect(tab.page.get_by_text("This is the only way into your account.")).to_be_visible()


async def test_person_without_a_password_has_a_link_to_set_one_mailed(
    tab: Tab, studio: Stage, stand_ins: StandIns
) -> None:
    account = account_at(stand_ins.google, "Lena")
    await tab.page.goto("/")
    await continue_with(tab, "Google", account.name)
    await tab.page.get_by_role("banner").get_by_role("link", name="Account").click()
    await tab.page.get_by_role("button", name="Mail me a link").click()
    await expect(tab.page.get_by_text(f"A mail is on its way to {account.email}.")).to_be_visible()
    await expect(tab.page.get_by_label("Present password")).to_have_count(0)
    # The credits that come with a confirmed address.
    await expect(tab.page.get_by_title("Credits that you can spend")).to_have_text("100 credits")


async def test_statement_that_fails_the_checks_is_told_in_the_language_of_the_page(
    tab: Tab, stand_ins: StandIns
) -> None:
    account = account_at(stand_ins.google, "Eve")
    stand_ins.google.fault = Fault.ALG_NONE
    await tab.page.goto("/")
    await tab.page.evaluate("localStorage.setItem('pingvas.language', 'ko')")
    await tab.page.reload()
    await tab.page.get_by_role("link", name="Google로 계속하기").click()
    await tab.page.get_by_role("button", name=account.name, exact=True).click()
    await expect(tab.page.get_by_role("alert")).to_contain_text("Google의 응답을 확인할 수 없어")


async def test_words_of_a_strangers_address_are_not_shown(tab: Tab) -> None:
    await tab.page.goto("/sign-in?failure=Call%20555-1234&provider=mybank")
    await tab.page.get_by_label("Password").wait_for()
    await expect(tab.page.get_by_text("555")).to_have_count(0)


async def start_login(studio: Stage, folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """Starts to log in on the command line and returns the address that it wants to be opened."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "studio.cli.main", "login", "--with", "google"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # A browser that does nothing: the tab of the test opens the address.
        env={
            **os.environ,
            "BROWSER": "true",
            "PINGVAS_CONFIG_DIR": str(folder),
            "PINGVAS_DATA_DIR": str(studio.fleet.layout.data_dir),
        },
    )
    assert process.stderr
    async with asyncio.timeout(_PATIENCE_SECONDS):
        address = ""
        while not address.startswith("http"):
            address = (await process.stderr.readline()).decode()
    return process, address.strip()


async def test_command_line_logs_in_through_a_browser(
    tab: Tab, studio: Stage, stand_ins: StandIns, tmp_path: Path
) -> None:
    account = account_at(stand_ins.google, "Ravi")
    process, address = await start_login(studio, tmp_path)
    await tab.page.goto(address)
    await tab.page.get_by_role("button", name=account.name, exact=True).click()
    await expect(tab.page.get_by_text("Go back to your terminal.")).to_be_visible()
    said, _ = await process.communicate()

    assert process.returncode == 0
    assert said.decode() == f"Logged in as {account.email} at {studio.fleet.grpc}.\n"
    session = Credentials(tmp_path).find(studio.fleet.grpc)
    assert session is not None
    assert session.email == account.email


async def test_command_line_is_told_that_the_person_cancelled(
    tab: Tab, studio: Stage, stand_ins: StandIns, tmp_path: Path
) -> None:
    account_at(stand_ins.google, "Ines")
    process, address = await start_login(studio, tmp_path)
    await tab.page.goto(address)
    await tab.page.get_by_role("button", name="Cancel").click()
    await expect(tab.page.get_by_text("Go back to your terminal.")).to_be_visible()
    _, complained = await process.communicate()

    assert process.returncode == 1
    assert complained.decode().splitlines()[0] == "pingvas: signing in at the provider didn't succeed"
    assert Credentials(tmp_path).find(studio.fleet.grpc) is None


async def test_edge_leads_programs_to_the_same_addresses(studio: Stage, stand_ins: StandIns) -> None:
    async with httpx.AsyncClient(base_url=studio.fleet.http) as http:
        answer = await http.get("/api/v1/auth/discord")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{stand_ins.discord.url}/oauth2/authorize?")
        refused = await http.get("/api/v1/auth/discord/callback", params={"state": "x", "code": "y", "scope": "email"})
    assert (refused.status_code, refused.json()["details"][0]["metadata"]["cause"]) == (401, "state")
