"""A real browser before a fleet that draws for real."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Locator, Page

from tests.e2e.stage import PASSWORD, FleetPlan, Person, Stage, running_stage
from tests.factories.sign_ins import StandIns, serving_stand_ins
from tests.harness_browser import PATIENCE_MS, running_chromium

_NOTHING = re.compile(r"(?!)")
_FAULT = re.compile(r"Failed to load resource: ")
_REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")


@dataclass(slots=True)
class Tab:
    """One page in a profile of its own, with what went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    expects_refusals: bool = False
    """Whether calls may be refused. Chromium reports each answer that isn't 200, some of them after the page has shown it."""

    expects_faults: bool = False
    """Whether calls may fail in any way."""

    @property
    def faults(self) -> list[str]:
        """What went wrong, less what the test is about."""
        expected = _FAULT if self.expects_faults else _REFUSAL if self.expects_refusals else _NOTHING
        return [error for error in self.errors if not expected.match(error)]

    async def sign_in(self, person: Person) -> None:
        """Signs in by the form."""
        await self.page.goto("/")
        await self.page.get_by_label("E-mail address").fill(person.email)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()
        await self.page.get_by_label("Prompt", exact=True).wait_for()

    async def open_gallery(self) -> Locator:
        """Goes to the gallery and returns its grid.

        The list of jobs, from where one comes, shows the same pictures under the same names.
        """
        await self.page.get_by_role("link", name="Gallery").click()
        grid = self.page.get_by_role("region", name="Gallery")
        await grid.wait_for()
        return grid


@pytest.fixture(scope="session")
def shared_stand_ins() -> Iterator[StandIns]:
    """The providers at which people can sign in."""
    with serving_stand_ins() as running:
        yield running


@pytest.fixture
def stand_ins(shared_stand_ins: StandIns, studio: Stage) -> StandIns:
    """The providers, without a fault, which know the studio."""
    shared_stand_ins.register_studio(studio.fleet.http)
    shared_stand_ins.google.reset()
    shared_stand_ins.discord.reset()
    return shared_stand_ins


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, shared_stand_ins: StandIns) -> Iterator[Stage]:
    """A fleet whose worker draws for real."""
    folder = tmp_path_factory.mktemp("studio")
    providers = {name.upper(): str(value) for name, value in shared_stand_ins.settings(folder).items()}
    with running_stage(folder, FleetPlan(draws_for_real=True, settings=providers)) as stage:
        yield stage


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    async with running_chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture
async def tab(browser: Browser, studio: Stage) -> AsyncIterator[Tab]:
    """A tab whose console stays free of errors and of reports of the Content-Security-Policy."""
    async with _opened_tab(browser, studio) as opened:
        yield opened


@pytest_asyncio.fixture
async def stranger(browser: Browser, studio: Stage) -> AsyncIterator[Tab]:
    """A tab of somebody else, who shares nothing with the first."""
    async with _opened_tab(browser, studio) as opened:
        yield opened


async def _slow_down(page: Page) -> None:
    """Gives the page a fraction of the CPU where BROWSER_SLOWDOWN says so: each test must pass on a slow machine."""
    slowdown = os.environ.get("BROWSER_SLOWDOWN")
    if slowdown:
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Emulation.setCPUThrottlingRate", {"rate": float(slowdown)})


@asynccontextmanager
async def _opened_tab(browser: Browser, studio: Stage) -> AsyncIterator[Tab]:
    context = await browser.new_context(
        base_url=studio.fleet.http, locale="en-GB", viewport={"width": 1440, "height": 900}
    )
    context.set_default_timeout(PATIENCE_MS)
    made = Tab(await context.new_page())
    await _slow_down(made.page)

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            made.errors.append(message.text)

    made.page.on("console", listen)
    made.page.on("pageerror", lambda error: made.errors.append(str(error)))
    yield made
    await context.close()
    assert made.faults == []
