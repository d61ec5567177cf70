"""A real browser before a fleet that draws for real."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from tests.e2e.stage import PASSWORD, FleetPlan, Person, Stage, running_stage

_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 30_000


@dataclass(slots=True)
class Tab:
    """One page in a profile of its own, with what went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)

    async def sign_in(self, person: Person) -> None:
        """Signs in by the form."""
        await self.page.goto("/")
        await self.page.get_by_label("E-mail address").fill(person.email)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()
        await self.page.get_by_label("Prompt", exact=True).wait_for()


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet whose worker draws for real."""
    with running_stage(tmp_path_factory.mktemp("studio"), FleetPlan(draws_for_real=True)) as stage:
        yield stage


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window; CHROMIUM names another than that of the path."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "these tests need Chromium: install your system's package, or set CHROMIUM to the program"
    # Chromium has no sandbox for root.
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture
async def tab(browser: Browser, studio: Stage) -> AsyncIterator[Tab]:
    """A tab whose console stays free of errors and of reports of the Content-Security-Policy."""
    context = await browser.new_context(
        base_url=studio.fleet.http, locale="en-GB", viewport={"width": 1440, "height": 900}
    )
    context.set_default_timeout(PATIENCE_MS)
    made = Tab(await context.new_page())

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            made.errors.append(message.text)

    made.page.on("console", listen)
    made.page.on("pageerror", lambda error: made.errors.append(str(error)))
    yield made
    await context.close()
    assert made.errors == []
